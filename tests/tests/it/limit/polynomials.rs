//! Moments of statistics over a batch, polynomials in sums of Gaussian variables, against traces of matrices.

use faer::Mat;
use netsor_ir::expr::Expr;
use netsor_ir::syntax::parse_program;
use netsor_limit::graph::{Body, Leaf};
use netsor_limit::{Data, Deriver, Evaluator, LimitError, Tolerance};

const SIZE: usize = 6;

/// Sums over windows of three of six standard normal vectors, with the mean and the variance over positions; `y` is
/// off centre by 1/2.
const PROGRAM: &str = "
program statistics {
  axis q = 6
  axis p = 6
  axis k = 3
  vector g[q] ~ N(0, 1)
  x[p] = sum k, q [q = p + k - 1] g[q]
  mu = 1/6 * sum p x[p]
  v = 1/6 * sum p (x[p] - mu)^2
  y[p] = x[p] - mu + 1/2
  w = 1/6 * sum p y[p]^2
  moment v2 = mean(v^2)
  moment v3 = mean(v^3)
  moment vxx[p, p'] = mean(v * x[p] * x[p'])
  moment vmu = mean(v * mu^2)
  moment w2 = mean(w^2)
  moment wy[p] = mean(w * y[p])
  moment odd = mean(v * mu)
}
";

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|k| matrix[(k, k)]).sum()
}

/// `E v^2 = (tr S)^2 + 2 tr S^2` for `v = z'z`, `z ~ N(0, S)`, and its like (Isserlis).
#[test]
fn moments_of_a_variance_over_a_batch() {
    let program = parse_program(PROGRAM).unwrap();
    let mut deriver = Deriver::new(&program);
    let mut scalar = |name: &str| deriver.scalar(program.find(name).unwrap()).unwrap();
    let [v2, v3, vxx, vmu, w2, wy, odd] = ["v2", "v3", "vxx", "vmu", "w2", "wy", "odd"].map(&mut scalar);
    let graph = deriver.into_graph();
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    let mut check = |expr, at: &[u32], exact: f64| {
        let found = evaluator.value(expr, at).unwrap().value;
        // Sums of some hundred products of numbers of order 1.
        assert!((found - exact).abs() <= 1e-13 * exact.abs().max(1.0), "{at:?}: {found}, exactly {exact}");
    };

    let n = SIZE as f64;
    let windows = Mat::from_fn(SIZE, SIZE, |p, q| if p.abs_diff(q) <= 1 { 1.0 } else { 0.0 });
    let centre = Mat::from_fn(SIZE, SIZE, |a, b| f64::from(u8::from(a == b)) - 1.0 / n);
    let (own, deviations) = (&windows * windows.transpose(), &centre * &windows);
    // v = z'z for z = (x - mu) / sqrt(6)
    let s = &deviations * deviations.transpose() * faer::Scale(1.0 / n);
    let (s2, s3) = (&s * &s, &s * &s * &s);
    let (t, t2, t3) = (trace(&s), trace(&s2), trace(&s3));
    check(v2, &[], t * t + 2.0 * t2);
    check(v3, &[], t * t * t + 6.0 * t * t2 + 8.0 * t3);
    let cross = &windows * deviations.transpose();
    let both = &cross * cross.transpose() * faer::Scale(2.0 / n);
    for p in 0..SIZE {
        for q in 0..SIZE {
            check(vxx, &[p as u32, q as u32], t * own[(p, q)] + both[(p, q)]);
        }
    }
    let mean_of = |m: &Mat<f64>| (0..SIZE * SIZE).map(|k| m[(k / SIZE, k % SIZE)]).sum::<f64>() / (n * n);
    check(vmu, &[], t * mean_of(&own) + mean_of(&both));
    // y / sqrt(6) has mean m with m'm = 1/4, and m is in the null space of S: deviations add up to 0.
    check(w2, &[], (t + 0.25) * (t + 0.25) + 2.0 * t2);
    for p in 0..SIZE as u32 {
        // E w y = 1/2 E w + Cov(w, x - mu), and the covariance is 2 m'S up to a factor, again 0.
        check(wy, &[p], 0.5 * (t + 0.25));
    }
    check(odd, &[], 0.0);
}

/// Multiplied out, the fourth power of a variance is a sum over up to 24 indices; with covariances for factors it is one
/// over four positions.
#[test]
fn high_moments_are_sums_over_few_indices() {
    let text = PROGRAM.replace("moment odd = mean(v * mu)", "moment v4 = mean(v^4)");
    let program = parse_program(&text).unwrap();
    let mut deriver = Deriver::new(&program);
    let v4 = deriver.scalar(program.find("v4").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let body = match *graph.pool.node(v4) {
        Expr::Ref(symbol, _) => match graph.leaf(symbol) {
            Leaf::Def(def) => match graph.def(def).body {
                Body::Scalar(body) => body,
                _ => panic!("a polynomial has no integral"),
            },
            _ => panic!("a moment is a definition"),
        },
        _ => v4,
    };
    let mut sums = Vec::new();
    graph.pool.visit(body, &mut |node| {
        if let Expr::Sum(sum) = node {
            sums.push(sum.axes.len());
        }
    });
    assert_eq!(sums, [4]);
}

/// A variance over five independent positions is chi-squared with four degrees of freedom over five. Its fifth moment is
/// a sum of 3125 terms, whose rounding does not add up.
#[test]
fn moments_of_a_chi_squared_variable() {
    let text = "
program chi_squared {
  axis i = 5
  vector g[i] ~ N(0, 1)
  mu = 1/5 * sum i g[i]
  v = 1/5 * sum i (g[i] - mu)^2
  moment v5 = mean(v^5)
}
";
    let program = parse_program(text).unwrap();
    let mut deriver = Deriver::new(&program);
    let v5 = deriver.scalar(program.find("v5").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let data = Data::new();
    let found = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(v5, &[]).unwrap().value;
    let exact = 4.0 * 6.0 * 8.0 * 10.0 * 12.0 / 3125.0;
    // Each term has five factors, and these a few roundings each.
    assert!((found - exact).abs() <= 32.0 * f64::EPSILON * exact, "{found}, exactly {exact}");
}

/// Of a sum that leaves the range of numbers an error says so.
#[test]
fn sums_that_overflow() {
    let text = "
program overflow {
  axis i = 2
  data c[i]: scalar
  scalar total = sum i c[i]
}
";
    let program = parse_program(text).unwrap();
    let mut deriver = Deriver::new(&program);
    let total = deriver.scalar(program.find("total").unwrap()).unwrap();
    let graph = deriver.into_graph();
    let value = |c: [f64; 2]| {
        let data = Data::new().with(program.find("c").unwrap(), c.to_vec());
        Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(total, &[])
    };
    assert_eq!(value([1.5e308, -1.5e308]).unwrap().value, 0.0);
    let found = value([1.5e308, 1.5e308]);
    assert!(matches!(found, Err(LimitError::Domain { .. })), "{found:?}");
}
