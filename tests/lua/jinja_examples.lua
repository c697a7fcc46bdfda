-- SPDX-License-Identifier: MIT
-- Templates as evals use them, with a plausible row each (JSON) and the value they have (JSON).

local shot = '{"question": "1+1?", "answer": "It is 2.\\n#### 2", "input": "1+1?", "letter": "B", "choices": ["1", "2", "3", "4"]}'

return {
  helpers = {
    clean = function(text)
      text = text:match("^%s*(.-)%s*$"):gsub(" %[title%]", ". "):gsub("%[.-%]", "")
      return (text:gsub("  ", " "))
    end,
    typos = function(text, rate, ctx)
      return (text:gsub("(%a)(%a)", function(a, b)
        if ctx.rng() < rate then return b .. a end
      end))
    end,
    text = function(name) return "canary\n-----\n" .. name .. " prompt\n\nQ: a\nA: b" end,
  },
  { eval = "bbh", template = "{{ target }}", vars = '{"target": "3.10"}', value = '"3.10"' },
  {
    eval = "bbh", template = "{{ text('cot').split('-----\\n')[1] }}\n\nQ: {{ input }}\nA: Let's think step by step.\n",
    vars = '{"input": "True and not True is"}',
    value = '"cot prompt\\n\\nQ: a\\nA: b\\n\\nQ: True and not True is\\nA: Let\'s think step by step."',
  },
  {
    eval = "closedqa",
    template = "Task given to the assistant: {{ input }}\nIts answer: {{ answer }}\nDoes the answer satisfy this: {{ metadata.criterion }}\n",
    vars = '{"input": "Tell me a joke.", "answer": "No.", "metadata": {"criterion": "Is it a joke?"}}',
    value = '"Task given to the assistant: Tell me a joke.\\nIts answer: No.\\nDoes the answer satisfy this: Is it a joke?"',
  },
  { eval = "files", template = "{{ metadata.check }}", vars = '{"metadata": {"check": "test -f b.txt"}}', value = '"test -f b.txt"' },
  { eval = "gsm8k", template = "{{ answer.split('####')[1] | trim }}", vars = '{"answer": "a\\n#### 1,234"}', value = '"1,234"' },
  {
    eval = "gsm8k",
    template = "{% for s in shots %}\nQuestion: {{ s.question }}\nAnswer: {{ s.answer }}\n\n{% endfor %}\nQuestion: {{ input }}\nAnswer:\n",
    vars = '{"shots": [' .. shot .. "," .. shot .. '], "input": "2+2?"}',
    value = '"Question: 1+1?\\nAnswer: It is 2.\\n#### 2\\n\\nQuestion: 1+1?\\nAnswer: It is 2.\\n#### 2\\n\\nQuestion: 2+2?\\nAnswer:"',
  },
  { eval = "hellaswag", template = "{{ question | clean }}", vars = '{"question": " [header] How [title] to  go "}', value = '" How. to go"' },
  {
    eval = "hellaswag", template = "{{ choices.values() | map('clean') | list }}", vars = '{"choices": {"b": " x ", "a": "[y]z"}}',
    value = '["x", "z"]',
  },
  { eval = "hellaswag", template = "{{ (choices | list).index(answer) }}", vars = '{"choices": {"b": "x", "a": "y"}, "answer": "a"}', value = "1" },
  {
    eval = "humaneval", template = "{{ input }}{{ answer }}\n{{ metadata.tests }}\ncheck({{ metadata.entry_point }})\n",
    vars = '{"input": "def f():", "answer": " return 1", "metadata": {"tests": "def check(c): pass", "entry_point": "f"}}',
    value = '"def f(): return 1\\ndef check(c): pass\\ncheck(f)"',
  },
  { eval = "rolling", template = "{{ context }} {{ continuation }}", vars = '{"context": "a", "continuation": "b"}', value = '"a b"' },
  { eval = "mmlu", template = "{{ question | trim }}", vars = '{"question": " Which? \\n"}', value = '"Which?"' },
  { eval = "mmlu", template = "{{ answer | int }}", vars = '{"answer": "2"}', value = "2" },
  {
    eval = "mmlu",
    template = [[
The following are multiple choice questions (with answers) about {{ subject | replace('_', ' ') }}.

{% for s in shots %}
{{ s.input }}
{{ s.choices | lettered('. ') }}
Answer: {{ s.letter }}

{% endfor %}
{{ input }}
{{ choices | lettered('. ') }}
Answer:
]],
    vars = '{"subject": "high_school_math", "shots": [' .. shot .. '], "input": "2+2?", "choices": ["3", "4", "5", "6"]}',
    value = '"The following are multiple choice questions (with answers) about high school math.\\n\\n1+1?\\nA. 1\\nB. 2\\nC. 3\\nD. 4\\n'
      .. 'Answer: B\\n\\n2+2?\\nA. 3\\nB. 4\\nC. 5\\nD. 6\\nAnswer:"',
  },
  {
    eval = "robust", template = "{{ question.choices | map(attribute='text') | list }}",
    vars = '{"question": {"stem": "Q", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}}', value = '["a", "b"]',
  },
  {
    eval = "robust", template = "{{ (question.choices | map(attribute='label') | list).index(answerKey) }}",
    vars = '{"question": {"choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}, "answerKey": "B"}', value = "1",
  },
  { eval = "robust", template = "Question: {{ input | upper }}\nAnswer:", vars = '{"input": "was?"}', value = '"Question: WAS?\\nAnswer:"' },
  { eval = "robust", template = "Question: {{ input | typos(0.75) }}\nAnswer:", vars = '{"input": "ab cd"}', value = '"Question: ba dc\\nAnswer:"' },
  { eval = "rucola", template = "{{ input[:-1] }}", vars = '{"input": [{"role": "system"}, {"role": "user"}]}', value = '[{"role": "system"}]' },
  { eval = "rucola", template = "{{ input[-1] }}", vars = '{"input": [{"role": "system"}, {"role": "user"}]}', value = '{"role": "user"}' },
  {
    eval = "rucola", template = "{{ shots | map(attribute='sample') | sum(start=[]) }}",
    vars = '{"shots": [{"sample": [{"role": "user"}, {"role": "assistant"}]}, {"sample": [{"role": "user"}]}]}',
    value = '[{"role": "user"}, {"role": "assistant"}, {"role": "user"}]',
  },
  {
    eval = "translate", template = '{{ language }} for "{{ input }}", one line, nothing else:', vars = '{"language": "French", "input": "Hello"}',
    value = '"French for \\"Hello\\", one line, nothing else:"',
  },
  {
    eval = "truthfulqa", template = "{{ row[set ~ '_targets'] | list }}",
    vars = '{"row": {"mc1_targets": {"b": 1, "a": 0}}, "set": "mc1"}', value = '["b", "a"]',
  },
  {
    eval = "truthfulqa", template = "{{ row[set ~ '_targets'].items() | selectattr(1) | map('first') | list }}",
    vars = '{"row": {"mc2_targets": {"b": 1, "a": 0, "c": 1}}, "set": "mc2"}', value = '["b", "c"]',
  },
  { eval = "truthfulqa", template = "{{ set == 'mc1' }}", vars = '{"set": "mc1"}', value = "true" },
  { eval = "winogrande", template = "{{ context_options[0] }}", vars = '{"context_options": ["a", "b"]}', value = '"a"' },
  { eval = "winogrande", template = "{{ gold }}", vars = '{"gold": 1}', value = "1" },
  {
    eval = "winogrande", template = "{% for s in shots %}\n{{ s.context_options[s.gold] }} {{ s.continuation }}\n\n{% endfor %}\n",
    vars = '{"shots": [{"context_options": ["a", "b"], "gold": 1, "continuation": "c."}]}', value = '"b c.\\n\\n"',
  },
  { eval = "where", template = "{{ question != '' }}", vars = '{"question": "x"}', value = "true" },
}
