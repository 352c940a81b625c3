//! The path formula against the kernel by moments of the backward pass: two derivations that share no adjoint.

use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{kernels, unroll_network};
use netsor_limit::paths::{PathFormula, PathFormulaError, PathRule};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};

/// Inputs that are neither orthogonal nor alike.
fn numbers(count: usize) -> Vec<f64> {
    (0..count).map(|k| (0.7 * k as f64 + 0.3).sin() + 0.2).collect()
}

/// The tangent kernel of the first two inputs by the backward pass.
fn by_moments(network: &Network) -> Vec<f64> {
    let kernels = kernels(network).unwrap();
    let program = &kernels.program;
    let mut deriver = Deriver::new(program);
    let ntk = deriver.scalar(kernels.outputs[0].ntk).unwrap();
    let graph = deriver.into_graph();
    let xi = program.find("xi").unwrap();
    let size = match program.value(xi).ty.kind {
        netsor_ir::Kind::Vector(netsor_ir::Dim::Finite(size)) => size as usize,
        _ => panic!("data are vectors of constant dimension"),
    };
    let data = Data::new().with(xi, numbers(program.family_sizes(xi).iter().product::<usize>() * size));
    let mut evaluator = Evaluator::new(&graph, program, &data, Tolerance::default()).unwrap();
    let rank = program.value(kernels.outputs[0].ntk).ty.family.len();
    let two = |i, j| match rank {
        2 => vec![i, j],
        // The first component of each output.
        _ => vec![i, 0, j, 0],
    };
    [(0, 0), (0, 1), (1, 1)].map(|(i, j)| evaluator.value(ntk, &two(i, j)).unwrap().value).to_vec()
}

/// The same by paths, on the plain network.
fn by_paths(network: &Network, rule: PathRule) -> Result<Vec<f64>, PathFormulaError> {
    let (plain, members) = unroll_network(network).unwrap();
    let mut deriver = Deriver::new(&plain.program);
    let outputs = [plain.outputs[0], plain.outputs[1]];
    let mut formula = PathFormula::new(&plain, &mut deriver, rule)?;
    let mut wanted = Vec::new();
    for (i, j) in [(0, 0), (0, 1), (1, 1)] {
        wanted.push(formula.kernel(outputs[i], outputs[j])?.total);
    }
    let graph = deriver.into_graph();
    let xi = network.program.find("xi").unwrap();
    let data = members[xi.index()].iter().enumerate().fold(Data::new(), |data, (k, &member)| {
        let netsor_ir::Kind::Vector(netsor_ir::Dim::Finite(size)) = plain.program.value(member).ty.kind else {
            panic!("data are vectors of constant dimension")
        };
        let size = size as usize;
        data.with(member, numbers(members[xi.index()].len() * size)[k * size..(k + 1) * size].to_vec())
    });
    let mut evaluator = Evaluator::new(&graph, &plain.program, &data, Tolerance::default()).unwrap();
    Ok(wanted.into_iter().map(|expr| evaluator.value(expr, &[]).unwrap().value).collect())
}

/// All three agree to quadrature, or the printed formula is off by more than `gap` somewhere.
#[track_caller]
fn check(body: &str, gap: Option<f64>) {
    let network = parse_network(&format!("network n {{\n axis i = 2\n{body}\n}}")).unwrap_or_else(|e| panic!("{e}"));
    let exact = by_moments(&network);
    let difference = |rule| {
        let found = by_paths(&network, rule).unwrap();
        exact.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    // Sums of at most some dozens of expectations of size one, each with a quadrature error of 1e-10.
    let (printed, with_returns) = (difference(PathRule::Printed), difference(PathRule::WithReturns));
    assert!(with_returns < 1e-8, "with return paths: off by {with_returns} from {exact:?}");
    match gap {
        None => assert!(printed < 1e-8, "as printed: off by {printed} from {exact:?}"),
        Some(gap) => assert!(gap < printed, "the printed formula should be wrong, and is off by {printed} only"),
    }
}

const ENDS: &str = "data xi[i] : 3\nparam U : n x 3 ~ N(0, 1/3)\nparam v : n x 1 ~ N(0, 1/n)\n\
                    param W : n x n ~ N(0, 2/n)\ng[i] = U * xi[i]\n";

#[test]
fn multilayer_perceptron_with_biases() {
    check(
        &format!(
            "{ENDS}param b : n ~ N(0, 0.1)\nparam c : 1 ~ N(0, 1)\nparam A : n x n ~ N(0, 1/n) frozen\n\
             z[i] = tanh(g[i] + b)\nh[i] = W * z[i]\ny[i] = erf(h[i] + b)\nk[i] = A * y[i]\nx[i] = relu(k[i])\n\
             output f[i] = v' * x[i] + 2 * c"
        )
        .replace("output f[i] = v' * x[i] + 2 * c", "r[i] = v' * x[i]\noutput f[i] = 3 * r[i] + 2 * c"),
        None,
    );
}

#[test]
fn residual_network() {
    check(
        &format!(
            "{ENDS}z[i] = tanh(g[i])\nh[i] = W * z[i]\ny[i] = g[i] + h[i]\nx[i] = y[i] + sin(h[i])\noutput f[i] = v' * x[i]"
        ),
        None,
    );
}

#[test]
fn recurrent_network_over_three_steps() {
    check(
        "axis t = 3\ndata xi[i, t] : 2\nparam U : n x 2 ~ N(0, 1/2)\nparam W : n x n ~ N(0, 1/n)\nparam v : n x 1 ~ N(0, 1/n)\n\
         u[i, t] = U * xi[i, t]\nx@0[i] = tanh(u[i, 0])\nfor s in 1..3 {\n h@s[i] = W * x@(s - 1)[i]\n x@s[i] = tanh(h@s[i] + u[i, s])\n}\n\
         y[i] = x@1[i] + 1/2 * x@2[i]\noutput f[i] = v' * y[i]",
        None,
    );
}

#[test]
fn convolution_with_pooling() {
    check(
        "axis pos = 3\naxis tap = 2\ndata xi[i, pos] : 2\nparam U[tap] : n x 2 ~ N(0, 1/4)\nparam K[tap] : n x n ~ N(0, 1/(2 * n))\n\
         param v : n x 1 ~ N(0, 1/n)\ng[i, pos, tap] = U[tap] * xi[i, pos]\n\
         z[i, pos] = relu(sum tap, pos' [pos' = pos + tap] g[i, pos', tap])\nh[i, pos, tap] = K[tap] * z[i, pos]\n\
         x[i, pos] = relu(sum tap, pos' [pos' = pos + tap mod pos] h[i, pos', tap])\np[i] = 1/3 * sum pos x[i, pos]\noutput f[i] = v' * p[i]",
        None,
    );
}

#[test]
fn layer_norm() {
    check(
        &format!(
            "{ENDS}z[i] = tanh(g[i])\nh[i] = W * z[i]\nmoment mu[i] = mean(h[i])\nmoment var[i] = mean((h[i] - mu[i])^2)\n\
             y[i] = tanh((h[i] - mu[i]) * (var[i] + 1/10)^(-1/2))\noutput f[i] = v' * y[i]"
        ),
        None,
    );
}

#[test]
fn widths_in_fixed_ratios_and_two_components() {
    check(
        "width m = 3/2 * n\ndata xi[i] : 2\nparam U : n x 2 ~ N(0, 1/2)\nparam W : m x n ~ N(0, 1/n)\nparam A : n x m ~ N(0, 2/n)\n\
         param v : n x 2 ~ N(0, 1/n)\ng[i] = U * xi[i]\nz[i] = tanh(g[i])\nh[i] = W * z[i]\ny[i] = erf(h[i])\nk[i] = A * y[i]\n\
         x[i] = tanh(k[i])\noutput f[i] = v' * x[i]",
        None,
    );
}

/// The errata's example: the last term of the tied kernel is missing in the printed formula.
#[test]
fn tied_autoencoder() {
    check(
        &format!(
            "{ENDS}z[i] = g[i] - 1/6 * g[i]^3\nh[i] = W * z[i]\ny[i] = sin(h[i])\nk[i] = W' * y[i]\nx[i] = k[i] + 1/2 * k[i]^2\n\
             output f[i] = v' * x[i]"
        ),
        Some(0.01),
    );
}

/// Longer chains of a matrix and its transpose, with returns of returns, and a transposed matrix of another width. With
/// polynomials every expectation is exact.
#[test]
fn return_paths_of_return_paths() {
    check(
        &format!(
            "{ENDS}h[i] = W * g[i]\ny[i] = h[i] + h[i]^2\nk[i] = W' * y[i]\nx[i] = k[i] + 1/2 * g[i] * k[i]\n\
             l[i] = W * x[i]\nw[i] = l[i] + 1/3 * l[i]^2\nm[i] = W' * w[i]\noutput f[i] = v' * m[i]"
        ),
        Some(0.01),
    );
    check(
        "width m = 2 * n\ndata xi[i] : 2\nparam U : n x 2 ~ N(0, 1/2)\nparam A : m x n ~ N(0, 1/n)\nparam v : n x 1 ~ N(0, 1/n)\n\
         g[i] = U * xi[i]\nh[i] = A * g[i]\ny[i] = h[i]^3 + h[i]\nk[i] = A' * y[i]\nx[i] = k[i] + k[i]^2\noutput f[i] = v' * x[i]",
        Some(0.01),
    );
}

#[test]
fn other_parametrizations_are_refused() {
    let body = format!("{ENDS}x[i] = tanh(g[i])\noutput f[i] = v' * x[i]").replace("~ N(0, 1/n)", "~ N(0, 1/n^2)");
    let network = parse_network(&format!("network n {{\n axis i = 2\n{body}\n}}")).unwrap();
    let refused = by_paths(&network, PathRule::Printed).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`v` has the power n^(-2) of the width where the path formula expects n^(-1): it is about the NTK parametrization"
    );
}
