//! One small program for every hypothesis, and a neighbour that satisfies it.

use super::*;
use crate::syntax::{parse_network, parse_program};

/// The missing hypotheses of a program, one a line.
#[track_caller]
fn program(body: &str) -> String {
    let program = parse_program(&format!("program p {{\n{body}\n}}")).unwrap_or_else(|e| panic!("{e:?}"));
    text(&of_program(&program)[0])
}

/// The missing hypotheses of a network for one theorem.
#[track_caller]
fn network(theorem: Theorem, body: &str) -> String {
    let network = parse_network(&format!("network p {{\n{body}\n}}")).unwrap_or_else(|e| panic!("{e:?}"));
    text(of_network(&network).iter().find(|c| c.theorem == theorem).unwrap())
}

fn text(coverage: &Coverage) -> String {
    let lines = coverage.missing.iter().map(|m| format!("\n{m}"));
    format!("{}{}", coverage.status().name(), lines.collect::<String>())
}

const VECTORS: &str = "vector a ~ N(0, 1)\nvector b ~ N(0, 1)\n";

#[test]
fn pseudo_lipschitz_functions_are_covered() {
    for expr in [
        "tanh(a) + relu(b) * a^3",
        "exp(-a^2)",
        "exp(-abs(a)) * b",
        "a / (1 + b^2)",
        "(a^2 + b^2 + 1)^(-1/2)",
        "log(1 + a^2)",
        "sqrt(1/2 + tanh(a)^2)",
        "a^2 * abs(b)^(3/2)",
        "a / (2 + sin(b))",
        "max(a, b) / max(1, exp(min(a, 3)))",
    ] {
        assert_eq!(program(&format!("{VECTORS}x = {expr}")), "covered", "{expr}");
    }
}

#[test]
fn jumps_are_supported_by_stein() {
    insta::assert_snapshot!(program(&format!("{VECTORS}x = b * step(a)")), @"
    numerically supported, not proved
    `step` in `x` jumps, so that it is not pseudo-Lipschitz; with derivatives by Stein's lemma the rules still give the right numbers, but what training moves across the jump no gradient sees
    ");
}

#[test]
fn growth_faster_than_polynomials_is_outside() {
    insta::assert_snapshot!(program(&format!("{VECTORS}x = exp(a)")), @"
    not covered
    `exp` in `x` may grow faster than every polynomial of the vectors: nothing bounds its argument from above
    ");
}

#[test]
fn singular_functions_of_vectors_are_outside() {
    insta::assert_snapshot!(program(&format!("{VECTORS}x = a / b")), @"
    not covered
    `/` in `x` is singular where its argument may come: no positive constant keeps the argument away from 0
    ");
    // exp(a) is positive, but comes as near to 0 as one likes.
    assert!(program(&format!("{VECTORS}x = sqrt(exp(-a^2))")).starts_with("not covered\n`sqrt`"));
    assert!(program(&format!("{VECTORS}x = log(a)")).starts_with("not covered\n`log`"));
    assert!(program(&format!("{VECTORS}x = abs(a)^(1/2)")).starts_with("not covered\n`^`"));
}

/// Layer normalisation: with eps > 0 a proof, with eps = 0 a condition on the limit.
#[test]
fn scalars_are_read_near_their_limits() {
    let norm = |eps: &str| {
        program(&format!(
            "{VECTORS}moment mu = mean(a)\nmoment var = mean((a - mu)^2)\nx = (a - mu) * (var + {eps})^(-1/2)"
        ))
    };
    assert_eq!(norm("1e-5"), "covered");
    insta::assert_snapshot!(norm("0"), @"
    covered under a condition
    `^` in `x` is singular at 0, where the limit of a scalar could be: the theorem holds if it is elsewhere
    ");
}

/// Softmax over scores that converge; a causal mask leaves at least one term, an empty one does not.
#[test]
fn softmax_needs_a_term() {
    let softmax = |guard: &str| {
        program(&format!(
            "axis t = 3\nvector a[t] ~ N(0, 1)\nmoment s[t, t'] = mean(a[t] * a[t'])\n\
             scalar z[t] = sum t' [{guard}] exp(s[t, t'])\n\
             x[t] = sum t' [{guard}] exp(s[t, t']) / z[t] * a[t']"
        ))
    };
    assert_eq!(softmax("t' <= t"), "covered");
    assert!(softmax("t' < t").starts_with("covered under a condition\n`/` in `x`"));
}

#[test]
fn scores_at_one_over_sqrt_d_stay_random() {
    let scores = |power: &str| {
        program(&format!(
            "{VECTORS}matrix Q ~ N(0, 1/n)\nq = Q * a\nmoment m = mean(q * b)\nscalar s = {power}m\nx = a * tanh(s)"
        ))
    };
    assert_eq!(scores(""), "covered");
    insta::assert_snapshot!(scores("n^(1/2) * "), @"
    not covered
    `s` is of order n^(1/2) unless it cancels: it stays random or diverges, as attention scores at 1/sqrt(d) do; divide by the width where the power comes from
    ");
}

#[test]
fn a_readout_is_no_scalar_of_a_program() {
    let readout = |variance: &str| program(&format!("{VECTORS}matrix V : n x 1 ~ N(0, {variance})\nf = V' * a"));
    insta::assert_snapshot!(readout("1/n"), @"
    not covered
    `f` is a sum over the width that stays random, so that it is no scalar of a program; condition on it and make it data
    ");
    // Under muP it tends to 0.
    assert_eq!(readout("1/n^2"), "covered");
}

#[test]
fn entries_of_matrices_have_variance_one_over_n() {
    insta::assert_snapshot!(program(&format!("{VECTORS}matrix W ~ N(0, 1/n^2)\ny = W * a")), @"
    not covered
    the entries of `W` have a variance of order n^(-2) and not n^(-1)
    ");
}

/// Eq. 84: a difference of a smooth function is covered, of one with a kink supported; without cancellation, or with
/// too small a step, it diverges.
#[test]
fn divided_differences() {
    let step = |function: &str, inner: &str| {
        program(&format!("{VECTORS}x = n^(1/2) * ({function}(a + n^(-{inner}) * b) - {function}(a))"))
    };
    assert_eq!(step("tanh", "1/2"), "covered");
    assert_eq!(step("tanh", "1"), "covered");
    insta::assert_snapshot!(step("relu", "1/2"), @"
    numerically supported, not proved
    `relu` in `x` has a kink, so that its derivative is not pseudo-Lipschitz
    ");
    assert!(step("tanh", "1/4").starts_with("not covered\n`x` is of order n^(1/2)"));
    assert!(program(&format!("{VECTORS}x = n^(1/2) * (tanh(a + n^(-1/2) * b) - tanh(b))")).starts_with("not covered"));
}

const INPUT: &str = "data xi : 2\nparam U : n x 2 ~ N(0, 1/2)\ng = U * xi\n";
const READOUT: &str = "param v : n x 1 ~ N(0, 1/n)\n";

#[test]
fn a_smooth_network_has_all_theorems() {
    let body =
        format!("{INPUT}{READOUT}param W : n x n ~ N(0, 1/n)\nx = tanh(g)\nh = W * x\ny = tanh(h)\noutput f = v' * y");
    for theorem in Theorem::ALL {
        assert_eq!(network(theorem, &body), "covered", "{theorem:?}");
    }
}

#[test]
fn kinks_leave_the_limit_of_the_kernel_but_not_training() {
    let body = format!("{INPUT}{READOUT}x = relu(g)\noutput f = v' * x");
    assert_eq!(network(Theorem::Master, &body), "covered");
    assert_eq!(network(Theorem::NtkInit, &body), "covered");
    insta::assert_snapshot!(network(Theorem::NtkTrain, &body), @"
    numerically supported, not proved
    `relu` in `x` has a kink, so that its derivative is not pseudo-Lipschitz
    ");
    insta::assert_snapshot!(network(Theorem::Hierarchy, &body), @"
    not covered
    `relu` in `x` leaves a derivative that is not bounded
    ");
}

#[test]
fn a_network_without_outputs_has_no_kernel() {
    assert_eq!(network(Theorem::NtkInit, INPUT), "not covered\n`p` has no output");
}

/// A neuron in `n^(1/2)` crosses the jump in a step of training and moves the output by `n^(-1/2)`: the tangent kernel,
/// which sees only the slopes beside the jump, does not predict it.
#[test]
fn jumps_leave_the_kernel_but_not_training() {
    let body = format!("{INPUT}{READOUT}x = g * step(g - 1)\noutput f = v' * x");
    assert!(network(Theorem::NtkInit, &body).starts_with("numerically supported"));
    assert!(network(Theorem::NtkTrain, &body).starts_with("not covered"));
}

#[test]
fn readouts_are_linear_and_used_once() {
    let of = |rest: &str| network(Theorem::GradientIndependence, &format!("{INPUT}{READOUT}x = tanh(g)\n{rest}"));
    assert_eq!(of("y = v' * x\nparam c : 1 ~ N(0, 1)\noutput f = 2 * y + c"), "covered");
    insta::assert_snapshot!(of("y = v' * x\noutput f = y^2"), @"
    not covered
    `f` is not linear in `y`
    ");
    insta::assert_snapshot!(of("y = v' * x\nz = v * y\noutput f = v' * z"), @"
    not covered
    `v` (readout weights) is also used for `y`
    `v` (readout weights) is also used for `z`
    ");
    insta::assert_snapshot!(of("moment m = mean(x)\noutput scalar f = m"), @"
    not covered
    `f` has a part with `m` that no readout weights multiply
    ");
    insta::assert_snapshot!(of("param w : n ~ N(0, 1)\nmoment m = mean(w^2 * x)\noutput scalar f = m"), @"
    not covered
    the Moment `m` is not linear in independent centred initial vectors
    ");
    let vector = |law: &str, rest: &str| {
        let body = format!(
            "{INPUT}param w : n ~ N({law}, 1)\nx = tanh(g)\n{rest}moment m = mean(w * x)\noutput scalar f = n^(1/2) * m"
        );
        network(Theorem::GradientIndependence, &body)
    };
    assert_eq!(vector("0", ""), "covered");
    assert!(vector("1", "").starts_with("not covered"));
    assert!(vector("0", "vector u ~ N(0, 1), cov(w) = 1/2\n").starts_with("not covered"));
}

#[test]
fn the_ntk_parametrization_up_to_shifts() {
    let of = |settings: &str| {
        let body = format!("{INPUT}{READOUT}param W : n x n ~ N(0, 2/n){settings}\nh = W * g\noutput f = v' * h");
        network(Theorem::NtkTrain, &body)
    };
    assert_eq!(of(""), "covered");
    assert_eq!(of(" with a = 0, b = 1/2, c = 1"), "covered");
    insta::assert_snapshot!(of(" with a = 0, b = 1/2, c = 0"), @"
    not covered
    `W` has variance n^(-1) and learning rate n^(0); in the NTK parametrization both are n^(-1)
    ");
}

#[test]
fn transposed_matrices_break_the_path_formula_only() {
    let body = format!(
        "{INPUT}{READOUT}param W : n x n ~ N(0, 1/n)\nh = W * g\nx = tanh(h)\nk = W' * x\ny = tanh(k)\noutput f = v' * y"
    );
    insta::assert_snapshot!(network(Theorem::PathFormula, &body), @"
    not covered
    `W` multiplies from both sides, in `h` and transposed in `k`; the exact kernel has return paths
    ");
    assert_eq!(network(Theorem::NtkInit, &body), "covered");
    assert_eq!(network(Theorem::NtkTrain, &body), "covered");
    // A readout with two columns is not "both directions".
    let two = format!("{INPUT}param V : n x 2 ~ N(0, 1/n)\nx = tanh(g)\noutput f = V' * x");
    assert_eq!(network(Theorem::PathFormula, &two), "covered");
}

#[test]
fn the_hierarchy_is_about_fully_connected_networks() {
    let of = |rest: &str| {
        network(
            Theorem::Hierarchy,
            &format!("{INPUT}{READOUT}param W : n x n ~ N(0, 1/n)\nx = tanh(g)\nh = W * x\n{rest}"),
        )
    };
    assert!(of("y = tanh(h + x)\noutput f = v' * y").contains("`y`: it is not a function of one vector"));
    assert!(of("y = sin(h)\noutput f = v' * y").contains("its activation differs"));
    assert!(of("y = tanh(h)\nk = W * y\nz = tanh(k)\noutput f = v' * z").contains("its matrix is used twice"));
    assert!(of("y = tanh(h)\nz = tanh(h)\noutput f = v' * z").contains("`y`: it is not part of a layer"));
    let activation =
        |name: &str| network(Theorem::Hierarchy, &format!("{INPUT}{READOUT}x = {name}\noutput f = v' * x"));
    assert_eq!(activation("softplus(2 * g) / 2"), "covered");
    assert_eq!(activation("tanh(g) * sin(g) + gelu(g)"), "covered");
    assert!(activation("g * tanh(g)").contains("`*` in `x`"));
    assert!(activation("g^2").contains("`^` in `x`"));
}

/// Programs that no verifier has seen do not panic.
#[test]
fn ill_formed_networks_have_answers() {
    let empty = Network::default();
    assert_eq!(of_network(&empty).len(), Theorem::ALL.len());
    let mut powers = Program::new("p");
    let mut e = powers.exprs.width(crate::Power::new(-1, 3));
    for k in 0..200 {
        let s = powers.scalar(&format!("s{k}"), &[], e);
        e = powers.member(s, &[]);
        e = powers.exprs.intern(crate::Expr::Pow(e, crate::Power::new(1 << 40, 3)));
    }
    of_program(&powers);
}

/// A part that no readout weights multiply: `f` is not centred, and with a power of the width it diverges.
#[test]
fn outputs_have_no_part_without_readout_weights() {
    let body = "data xi : 2\nparam U : n x 2 ~ N(0, 1/2)\nparam v : n ~ N(0, 1)\nh = U * xi\nx = tanh(h)\n";
    let free = format!("{body}output moment f = mean(n^(1/2) * v * x)");
    assert_eq!(network(Theorem::GradientIndependence, &free), "covered");
    let moment = format!("{body}output moment f = mean(n^(1/2) * v * x + n^(1/2) * x^2)");
    insta::assert_snapshot!(network(Theorem::GradientIndependence, &moment));
    let scalar =
        format!("{body}moment r = mean(v * x)\nmoment m = mean(x)\noutput scalar f = n^(1/2) * r + n^(1/2) * m");
    insta::assert_snapshot!(network(Theorem::GradientIndependence, &scalar));
}

/// The hierarchy's bounds do not depend on the width.
#[test]
fn activations_with_powers_of_the_width_are_outside_the_hierarchy() {
    let body = "data xi : 2\nparam U : n x 2 ~ N(0, 1/2)\nparam v : n x 1 ~ N(0, 1/n)\nh = U * xi\n";
    let text = network(Theorem::Hierarchy, &format!("{body}x = n^(1/2) * tanh(h)\noutput f = v' * x"));
    assert!(text.starts_with("not covered") && text.contains("a power of n"), "{text}");
}
