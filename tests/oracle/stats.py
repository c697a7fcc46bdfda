# SPDX-License-Identifier: MIT
"""Our statistics beside SciPy's and NumPy's on random inputs: stats.py [ROUNDS [SEED]].

Run by hand with a Python that has numpy and scipy; needs gcc. Builds results/stats*.c as a shared library in a
temporary folder and prints the largest relative difference of each function. Exits 1 when one is past its bound
(1e-9, but for what an oracle itself computes less exactly)."""
import ctypes
import glob
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
from scipy import integrate, optimize, special, stats

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
D, I, Z = ctypes.c_double, ctypes.c_int64, ctypes.c_size_t
PD, PI, PU, PZ = (ctypes.POINTER(t) for t in (D, I, ctypes.c_uint32, Z))


def structure(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": [(f, t) for f, t in fields]})


def doubles(name, fields):
    return structure(name, *[(f, D) for f in fields.split()])


Interval = doubles("Interval", "value stderr low high")
Test = structure("Test", ("interval", Interval), ("t", D), ("df", D), ("p", D))
McNemar = doubles("McNemar", "exact mid b_small b_large chi2 p_chi2 evidence")
Margin = doubles("Margin", "value stderr low high t p_noninferior p_regression")
Clustered = structure("Clustered", ("cr0", D), ("cr1", D), ("miller", D), ("interval", Interval))
Epochs = structure("Epochs", ("mean", D), ("stderr", D), ("within", D), ("between", D), ("n", Z))
Agreement = doubles("Agreement", "observed kappa kappa_se linear linear_se quadratic quadratic_se ac1 ac1_se pabak")
Ks = doubles("Ks", "distance exact asymptotic")
Plan = structure("Plan", ("alpha", D), ("sides", ctypes.c_int), ("power", D))
Boot = structure("Boot", ("interval", Interval), ("percentile_low", D), ("percentile_high", D), ("bias", D),
                 ("acceleration", D), ("alpha_low", D), ("alpha_high", D), ("n_undefined", Z))
Calibration = structure("Calibration", ("confidence", PD), ("right", PD), ("n_bins", Z))
STATISTIC = ctypes.CFUNCTYPE(D, ctypes.c_void_p, PU, Z)
GROUPS = ctypes.CFUNCTYPE(D, ctypes.c_void_p, PU, Z, Z)

worst = {}
calls = {}


def library():
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "libstats.so")
    sources = glob.glob(f"{ROOT}/results/stats*.c") + [f"{ROOT}/results/distributions.c"]
    sources += glob.glob(f"{ROOT}/src/base/*.c")
    subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-std=gnu17", "-D_GNU_SOURCE", "-ffp-contract=off", f"-I{ROOT}",
                    f"-I{ROOT}/src", "-o", path, *sources, "-lm", "-lpthread"], check=True)
    return ctypes.CDLL(path)


def bind(lib, name, result, *arguments):
    function = getattr(lib, "stats_" + name)
    function.restype = result
    function.argtypes = arguments
    return function


def array(values, kind=D):
    dtype = {D: np.float64, I: np.int64, ctypes.c_uint32: np.uint32, Z: np.uintp}[kind]
    kept = np.array(values, dtype=dtype)
    pointer = kept.ctypes.data_as(ctypes.POINTER(kind))
    pointer.kept = kept
    return pointer


def compare(name, got, want):
    for g, w in zip(np.atleast_1d(got), np.atleast_1d(want)):
        if math.isnan(g) and math.isnan(w) or g == w:
            gap = 0.0
        else:
            gap = abs(g - w) / max(abs(w), 1e-3)  # 1e-9 of it is 1e-12 absolute for small numbers
        worst[name] = max(worst.get(name, 0.0), float(gap) if not math.isnan(gap) else math.inf)
        calls[name] = calls.get(name, 0) + 1


def ends(interval):
    return [interval.value, interval.stderr, interval.low, interval.high]


def t_interval(mean, error, df, confidence):
    half = stats.t.ppf(0.5 + confidence / 2, df) * error
    return [mean, error, mean - half, mean + half]


def distributions(lib, rng):
    p = rng.uniform() ** rng.choice([1, 8])
    compare("normal_quantile", bind(lib, "normal_quantile", D, D)(p), special.ndtri(p))
    z = rng.normal() * 4
    compare("normal_cdf", bind(lib, "normal_cdf", D, D)(z), special.ndtr(z))
    df = 10 ** rng.uniform(-0.5, 5)
    p = rng.uniform(1e-6, 1)
    compare("t_quantile", bind(lib, "t_quantile", D, D, D)(p, df), stats.t.ppf(p, df))
    compare("t_sf", bind(lib, "t_sf", D, D, D)(z, df), stats.t.sf(z, df))
    a, b = 10 ** rng.uniform(-1, 4, 2)
    x = np.clip(stats.beta.rvs(a, b, random_state=rng), 1e-12, 1 - 1e-12)
    compare("ibeta", bind(lib, "ibeta", D, D, D, D)(a, b, x), special.betainc(a, b, x))
    # Compared by what the inverse's own argument gives: flat stretches make x itself ill-defined.
    x = bind(lib, "ibeta_inverse", D, D, D, D)(a, b, p)
    if 1e-15 < x < 1 - 1e-9:
        compare("ibeta_inverse", special.betainc(a, b, x), p)
    n = int(10 ** rng.uniform(0, 5))
    k = int(rng.integers(0, n + 1))
    q = rng.uniform()
    k_near = int(stats.binom.rvs(n, q, random_state=rng))
    compare("binomial_pmf", bind(lib, "binomial_pmf", D, I, I, D)(k_near, n, q), stats.binom.pmf(k_near, n, q))
    compare("binomial_cdf", bind(lib, "binomial_cdf", D, I, I, D)(k_near, n, q), stats.binom.cdf(k_near, n, q))
    compare("log_choose", bind(lib, "log_choose", D, D, D)(n, k),
            special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))
    compare("log_gamma", bind(lib, "log_gamma", D, D)(a), special.gammaln(a))
    x = rng.exponential(3)
    compare("chi2_sf", bind(lib, "chi2_sf", D, D)(x), stats.chi2.sf(x, 1))
    compare("kolmogorov_sf", bind(lib, "kolmogorov_sf", D, D)(x / 2), special.kolmogorov(x / 2))


def jackknife(x, w, cluster):
    groups = np.unique(cluster)
    parts = [np.sum((w * x)[cluster != g]) / np.sum(w[cluster != g]) for g in groups]
    size = len(groups)
    error = np.sqrt((size - 1) / size * np.sum((parts - np.mean(parts)) ** 2))
    counts = np.unique(cluster, return_counts=True)[1]
    return error, len(x) ** 2 / np.sum(counts ** 2) - 1


def means(lib, rng):
    n = int(rng.integers(3, 200))
    confidence = rng.choice([0.8, 0.9, 0.95, 0.99])
    x = rng.normal(rng.normal() * 10, 1, n)
    w = rng.uniform(0.1, 3, n)
    compare("mean", ends(bind(lib, "mean", Interval, PD, Z, D)(array(x), n, confidence)),
            t_interval(x.mean(), stats.sem(x), n - 1, confidence))
    m = np.sum(w * x) / np.sum(w)
    error = np.sqrt(n / (n - 1) * np.sum(w ** 2 * (x - m) ** 2)) / np.sum(w)
    compare("ratio", ends(bind(lib, "ratio", Interval, PD, PD, Z, D)(array(x), array(w), n, confidence)),
            t_interval(m, error, n - 1, confidence))
    groups = int(rng.integers(2, n + 1))
    cluster = np.concatenate([np.arange(groups), rng.integers(0, groups, n - groups)])
    u32 = ctypes.c_uint32
    error, df = jackknife(x, w, cluster)
    got = bind(lib, "ratio_clustered", Interval, PD, PD, PU, Z, Z, D)(array(x), array(w), array(cluster, u32), n,
                                                                       groups, confidence)
    compare("ratio_clustered", ends(got), t_interval(m, error, df, confidence))
    error, df = jackknife(x, np.ones(n), cluster)
    got = bind(lib, "t_test_clustered", Test, PD, PU, Z, Z, D)(array(x), array(cluster, u32), n, groups, confidence)
    compare("t_test_clustered", ends(got.interval), t_interval(x.mean(), error, df, confidence))
    got = bind(lib, "clustered", Clustered, PD, PU, Z, Z, D)(array(x), array(cluster, u32), n, groups, confidence)
    r = x - x.mean()
    sums = np.array([r[cluster == g].sum() for g in range(groups)])
    cr0 = np.sqrt(np.sum(sums ** 2)) / n
    inside = sum(r[i] * r[j] for i in range(n) for j in range(n) if i != j and cluster[i] == cluster[j])
    compare("clustered", [got.cr0, got.cr1, got.miller],
            [cr0, np.sqrt(groups / (groups - 1)) * cr0, np.sqrt(np.var(x, ddof=1) / n + inside / n ** 2)])
    y = x * rng.uniform(0, 1) + rng.normal(0, 1, n)
    got = bind(lib, "paired", Test, PD, PD, Z, D)(array(x), array(y), n, confidence)
    want = stats.ttest_rel(x, y)
    compare("paired", [got.t, got.p, got.df], [want.statistic, want.pvalue, n - 1])
    m2 = int(rng.integers(3, 50))
    y2 = rng.normal(0, 2, m2)
    got = bind(lib, "welch", Test, PD, Z, PD, Z, D)(array(x), n, array(y2), m2, confidence)
    want = stats.ttest_ind(x, y2, equal_var=False)
    limits = want.confidence_interval(confidence)
    compare("welch", [got.t, got.p, got.df, got.interval.low, got.interval.high],
            [want.statistic, want.pvalue, want.df, limits.low, limits.high])
    margin = rng.uniform(0, 0.3)
    got = bind(lib, "margin", Margin, PD, Z, D, D)(array(x), n, margin, 0.95)
    compare("margin", [got.p_noninferior, got.p_regression],
            [stats.ttest_1samp(x, -margin, alternative="greater").pvalue,
             stats.ttest_1samp(x, -margin, alternative="less").pvalue])
    compare("covariance", bind(lib, "covariance", D, PD, PD, Z)(array(x), array(y), n), np.cov(x, y)[0, 1])
    compare("pearson", bind(lib, "pearson", D, PD, PD, Z)(array(x), array(y), n), stats.pearsonr(x, y).statistic)
    a, b = np.round(x), np.round(y)
    compare("spearman", bind(lib, "spearman", D, PD, PD, Z)(array(a), array(b), n), stats.spearmanr(a, b).statistic)
    counts = rng.integers(1, 6, n)
    start = np.concatenate([[0], np.cumsum(counts)])
    scores = rng.normal(0, 1, start[-1])
    got = bind(lib, "epochs", Epochs, PD, PZ, Z)(array(scores), array(start, Z), n)
    own = [scores[start[i]:start[i + 1]] for i in range(n)]
    of_sample = np.array([s.mean() for s in own])
    within = sum(np.sum((s - s.mean()) ** 2) for s in own) / np.sum(counts - 1)
    compare("epochs", [got.mean, got.stderr, got.within, got.between],
            [of_sample.mean(), stats.sem(of_sample), within, np.var(of_sample, ddof=1) - within * np.mean(1 / counts)])


def tango_score(b, c, n, delta):
    """(b - c - n delta) / sqrt(n variance), the restricted likelihood maximised by a numerical search."""
    low, high = max(0, -delta), (1 - delta) / 2  # share q of the second kind; the first is q + delta
    if high - low < 1e-15:
        q = low
    else:
        def slope(q):
            return (b / (q + delta) if b else 0) + (c / q if c else 0) - 2 * (n - b - c) / (1 - 2 * q - delta)
        eps = 1e-14 * (high - low)
        if slope(low + eps) <= 0:
            q = low
        elif n == b + c or slope(high - eps) >= 0:
            q = high
        else:
            q = optimize.brentq(slope, low + eps, high - eps, xtol=1e-16, rtol=1e-15, maxiter=500)
    return (b - c - n * delta) / math.sqrt(n * (2 * q + delta - delta ** 2))


def binary(lib, rng):
    n = int(10 ** rng.uniform(0, 4))
    k = int(rng.integers(0, n + 1))
    confidence = float(rng.choice([0.8, 0.9, 0.95, 0.99]))
    test = stats.binomtest(k, n)
    for name, method in (("wilson", "wilson"), ("clopper_pearson", "exact")):
        got = bind(lib, name, Interval, I, I, D)(k, n, confidence)
        want = test.proportion_ci(confidence, method)
        compare(name, [got.low, got.high], [max(want.low, 0) if k else 0, want.high if k < n else 1])
    got = bind(lib, "jeffreys", Interval, I, I, D)(k, n, confidence)
    tail = (1 - confidence) / 2
    compare("jeffreys", [got.low, got.high],
            [stats.beta.ppf(tail, k + .5, n - k + .5) if k else 0, stats.beta.isf(tail, k + .5, n - k + .5) if k < n else 1])
    b, c = (int(v) for v in rng.integers(0, 60, 2))
    got = bind(lib, "mcnemar", McNemar, I, I)(b, c)
    if b + c > 0:
        exact = stats.binomtest(b, b + c).pvalue
        compare("mcnemar exact", got.exact, exact)
        compare("mcnemar mid", got.mid, min(1, 2 * stats.binom.cdf(min(b, c), b + c, .5) - stats.binom.pmf(b, b + c, .5)))
        mixture = integrate.quad(lambda p: np.exp(b * np.log(2 * p) + c * np.log(2 - 2 * p)), 0, 1, epsabs=0,
                                 epsrel=1e-12, limit=400)[0]
        compare("mcnemar evidence", got.evidence, mixture)
    n = b + c + int(rng.integers(1, 300))
    got = bind(lib, "tango", Interval, I, I, I, D)(b, c, n, confidence)
    z = special.ndtri(0.5 + confidence / 2)
    compare("tango", [tango_score(b, c, n, got.low), tango_score(b, c, n, got.high)], [z, -z])


def bootstraps(lib, rng):
    n = int(rng.integers(20, 60))  # few enough permutations of the sample: SciPy takes ties apart by their rounding
    x = rng.gamma(2, 1, n)
    kept = {}

    def statistic(sample, axis=-1):
        return np.var(sample, axis=axis, ddof=1) / np.mean(sample, axis=axis)

    @STATISTIC
    def at(_, index, size):
        return float(statistic(x[np.ctypeslib.as_array(index, (size,))]))

    def spy(sample, axis=-1):
        if sample.ndim == 2 and sample.shape == (999, n):
            kept["resamples"] = sample
        return statistic(sample, axis)

    want = stats.bootstrap((x,), spy, n_resamples=999, batch=None, method="BCa", confidence_level=0.9,
                           random_state=rng)
    order = np.argsort(x)
    resamples = order[np.searchsorted(x[order], kept["resamples"])]
    function = bind(lib, "bootstrap_given", Boot, STATISTIC, ctypes.c_void_p, Z, PU, Z, D)
    got = function(at, None, n, array(resamples, ctypes.c_uint32), 999, 0.9)
    interval = want.confidence_interval
    compare("bootstrap_given (SciPy's resamples)", [got.interval.low, got.interval.high, got.interval.stderr],
            [interval.low, interval.high, want.standard_error])
    q = rng.uniform()
    compare("quantile", bind(lib, "quantile", D, PD, Z, D)(array(np.sort(x)), n, q), np.quantile(x, q))


def planning(lib, rng):
    plan = Plan(float(rng.choice([0.01, 0.05, 0.1])), int(rng.integers(1, 3)), float(rng.uniform(0.5, 0.95)))
    z = special.ndtri(1 - plan.alpha / plan.sides) + special.ndtri(plan.power)
    delta, variance, n = rng.uniform(0.01, 0.3), rng.uniform(0.01, 1), rng.integers(10, 5000)
    compare("plan_n", bind(lib, "plan_n", D, ctypes.POINTER(Plan), D, D)(plan, delta, variance), z ** 2 * variance / delta ** 2)
    compare("plan_effect", bind(lib, "plan_effect", D, ctypes.POINTER(Plan), D, D)(plan, n, variance),
            z * math.sqrt(variance / n))
    share = rng.uniform(delta, 1)
    need = bind(lib, "plan_n_binary", D, ctypes.POINTER(Plan), D, D)(plan, delta, share)
    compare("plan_effect_binary", bind(lib, "plan_effect_binary", D, ctypes.POINTER(Plan), D, D)(plan, need, share), delta)
    p = rng.uniform(0, 0.2, int(rng.integers(1, 20)))
    out = array(p)
    lib.stats_benjamini_hochberg(array(p), Z(len(p)), out)
    compare("benjamini_hochberg", out.kept, stats.false_discovery_control(p))
    lib.stats_holm(array(p), Z(len(p)), out)
    order = np.argsort(p)
    holm = np.empty(len(p))
    holm[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    compare("holm", out.kept, holm)
    n, k = int(rng.integers(1, 300)), 0
    c, k = int(rng.integers(0, n + 1)), int(rng.integers(1, n + 1))
    compare("pass_at", bind(lib, "pass_at", D, I, I, I)(n, c, k), stats.hypergeom.sf(0, n, c, k))
    compare("pass_all", bind(lib, "pass_all", D, I, I, I)(n, c, k), stats.hypergeom.pmf(k, n, c, k))


def judges(lib, rng):
    k = int(rng.integers(2, 6))
    table = rng.integers(1, 40, (k, k)) + np.diag(rng.integers(0, 100, k))
    got = bind(lib, "agreement", Agreement, PI, Z)(array(table, I), k)
    p = table / table.sum()
    row, column = p.sum(1), p.sum(0)
    i, j = np.indices((k, k))
    for name, weight in (("kappa", (i == j) * 1.0), ("linear", 1 - abs(i - j) / (k - 1)),
                         ("quadratic", 1 - ((i - j) / (k - 1)) ** 2)):
        po, pe = (weight * p).sum(), (weight * np.outer(row, column)).sum()
        kappa = (po - pe) / (1 - pe)
        term = weight - np.add.outer(weight @ column, row @ weight) * (1 - kappa)
        error = math.sqrt(((p * term ** 2).sum() - (kappa - pe * (1 - kappa)) ** 2) / table.sum()) / (1 - pe)
        compare(name, [getattr(got, name), getattr(got, name + "_se")], [kappa, error])
    share = (row + column) / 2
    pe = (share * (1 - share)).sum() / (k - 1)
    compare("ac1", got.ac1, (np.trace(p) - pe) / (1 - pe))


def drifts(lib, rng):
    bins = int(rng.integers(2, 12))
    a, b = rng.integers(1, 80, (2, bins))
    p, q = a / a.sum(), b / b.sum()
    compare("psi", bind(lib, "psi", D, PI, PI, Z, D)(array(a, I), array(b, I), bins, 1e-4), ((q - p) * np.log(q / p)).sum())
    m = (p + q) / 2
    compare("jensen_shannon", bind(lib, "jensen_shannon", D, PI, PI, Z)(array(a, I), array(b, I), bins),
            (stats.entropy(p, m, 2) + stats.entropy(q, m, 2)) / 2)
    x, y = np.sort(rng.normal(0, 1, rng.integers(2, 60))), np.sort(rng.normal(0.4, 1, rng.integers(2, 60)))
    got = bind(lib, "ks", Ks, PD, Z, PD, Z)(array(x), len(x), array(y), len(y))
    want = stats.ks_2samp(x, y, method="exact")
    compare("ks exact", [got.distance, got.exact], [want.statistic, want.pvalue])
    compare("ks asymptotic", got.asymptotic,
            special.kolmogorov(math.sqrt(len(x) * len(y) / (len(x) + len(y))) * want.statistic))
    ties_x, ties_y = np.round(x, 1), np.round(y, 1)
    compare("wasserstein", bind(lib, "wasserstein", D, PD, Z, PD, Z)(array(ties_x), len(x), array(ties_y), len(y)),
            stats.wasserstein_distance(ties_x, ties_y))


def calibrations(lib, rng):
    n, bins = int(rng.integers(1, 300)), int(rng.integers(1, 20))
    confidence = rng.uniform(0, 1, n)
    right = (rng.uniform(0, 1, n) < confidence) * 1.0
    columns = array(confidence), array(right)  # kept alive: the structure holds addresses only
    of = Calibration(*columns, bins)
    at = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1)
    gaps = [(np.sum(at == b) / n, abs(confidence[at == b].mean() - right[at == b].mean())) for b in np.unique(at)]
    compare("ece", bind(lib, "ece", D, ctypes.POINTER(Calibration), Z, ctypes.c_void_p)(of, n, None), sum(s * g for s, g in gaps))
    compare("mce", bind(lib, "mce", D, ctypes.POINTER(Calibration), Z)(of, n), max(g for _, g in gaps))
    compare("brier", bind(lib, "brier", D, ctypes.POINTER(Calibration), Z)(of, n), np.mean((confidence - right) ** 2))
    compare("log_loss", bind(lib, "log_loss", D, ctypes.POINTER(Calibration), Z)(of, n),
            -np.mean(np.log(np.where(right == 1, confidence, 1 - confidence))))


# Where the oracle is the less exact of the two: a density's cancellation in SciPy, a quadrature, differences of
# large logarithms, a root that is found by search.
BOUNDS = {"log_choose": 1e-8, "tango": 1e-7, "ibeta_inverse": 2e-9, "ks exact": 1e-8}


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    lib = library()
    for _ in range(rounds):
        for group in (distributions, means, binary, planning, judges, drifts, calibrations):
            group(lib, rng)
    for _ in range(max(1, rounds // 10)):
        bootstraps(lib, rng)
    failed = 0
    for name in sorted(worst):
        beyond = worst[name] > BOUNDS.get(name, 1e-9)
        failed += int(beyond)
        print(f"{name:40} {worst[name]:9.2e}  of {calls[name]}{'  BEYOND' if beyond else ''}")
    return failed > 0


sys.exit(main())
