"""A nightly eval of the model in production: run, gate against the baseline, promote what passes.

Workers need muster on the PATH (README: meson install) and one shared folder. Airflow variables: muster_folder (with
evals/ in it; the store is kept there too), eval_model. The key is the password of the connection `openai`."""
from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator  # Airflow 3: airflow.providers.standard.operators.bash

ENV = {
    "EXPERIMENT": "nightly-{{ ds_nodash }}",
    "EVAL_MODEL": "{{ var.value.eval_model }}",
    "OPENAI_API_KEY": "{{ conn.openai.password }}",
    "FOLDER": "{{ var.value.muster_folder }}",
    "MUSTER_DB": "{{ var.value.muster_folder }}/muster.db",
    "MUSTER_CACHE": "{{ var.value.muster_folder }}/cache",
}

with DAG(
    "evals",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"env": ENV, "append_env": True},
) as dag:
    # A retry goes on where the last try stopped: exit codes 3 and 4 (attempts failed, provider down) heal with time.
    run = BashOperator(
        task_id="run",
        retries=3,
        retry_delay=timedelta(minutes=10),
        bash_command='''
            cd "$FOLDER"
            muster run evals/support.yaml -m "$EVAL_MODEL" --resume --name "$EXPERIMENT" \
                --tag origin=airflow --fail-on-error 0.01
        ''',
    )
    # Judging again would say the same: no retries. Without a baseline there is nothing to compare with yet.
    gate = BashOperator(
        task_id="gate",
        retries=0,
        bash_command='''
            cd "$FOLDER"
            if muster list baselines main > /dev/null 2>&1; then
                muster diff @main "$EXPERIMENT" --html "diff-$EXPERIMENT.html"
                muster gate "$EXPERIMENT" --baseline @main --policy evals/release.yaml \
                    --junit "gate-$EXPERIMENT.xml" --markdown "gate-$EXPERIMENT.md"
            fi
        ''',
    )
    promote = BashOperator(
        task_id="promote",
        retries=0,
        bash_command='''
            cd "$FOLDER"
            first=$(muster list baselines main > /dev/null 2>&1 || echo --first)
            muster promote "$EXPERIMENT" main --policy evals/release.yaml $first
        ''',
    )
    run >> gate >> promote
