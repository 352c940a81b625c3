//! Programs run against direct loops, and the promises about draws and threads.

use netsor_ir::expr::Expr;
use netsor_ir::func::Func;
use netsor_ir::index::{Guard, Index, Relation};
use netsor_ir::number::{fraction, integer, power};
use netsor_ir::program::{Dim, Instr, Kind, Law, Program, Scale, Value, ValueId};

use crate::execute::execute_unverified as execute;
use crate::{Block, FiniteError, Float, Inputs, Options, State};

const I: Index = Index::Var(0);
const J: Index = Index::Var(1);

/// Numbers without a pattern that a mistake in an index would keep.
fn numbers(count: usize, salt: f64) -> Vec<f64> {
    (0..count).map(|k| ((k as f64 + 1.0) * salt).sin()).collect()
}

fn over_width() -> Scale {
    Scale::new(integer(1), power(-1, 1))
}

/// A convolution over positions, layer norm, a family of matrices, transposed products, Moments and scalars:
/// `x[i, p] = tanh(sum k, q [q = p + k - 1] W[k] h[i, q]) / (1 + s[i])`.
struct Conv {
    program: Program,
    u: ValueId,
    w: ValueId,
    xi: ValueId,
    h: ValueId,
    s: ValueId,
    x: ValueId,
    back: ValueId,
    gram: ValueId,
    gram_plain: ValueId,
    edge: ValueId,
}

fn conv() -> Conv {
    let mut p = Program::new("conv");
    let n = p.width();
    let (input, pos, tap) = (p.axis("input", 2), p.axis("pos", 4), p.axis("tap", 3));
    let u = p.matrix("U", &[], n, Dim::Finite(3), Scale::constant(integer(1)));
    let w = p.matrix("W", &[("k", tap)], n, n, over_width());
    let xi = p.data("xi", &[("i", input), ("p", pos)], Kind::Vector(Dim::Finite(3)));
    let h = p.matmul("h", &[("i", input), ("p", pos)], (u, &[]), false, (xi, &[I, J]));
    // s[i] = mean over coordinates of the mean square over positions
    let member = p.member(h, &[I, J]);
    let square = p.exprs.pow(member, power(2, 1));
    let sum = p.exprs.sum(&[(J, pos)], [], square);
    let quarter = p.exprs.constant(fraction(1, 4));
    let mean = p.exprs.mul(quarter, sum);
    let s = p.moment("s", &[("i", input)], mean);
    // g[k, i, q] = W[k] h[i, q]
    let g = p.matmul(
        "g",
        &[("k", tap), ("i", input), ("q", pos)],
        (w, &[Index::Var(0)]),
        false,
        (h, &[Index::Var(1), Index::Var(2)]),
    );
    let (k, q) = (Index::Var(2), Index::Var(3));
    let tap_member = p.member(g, &[k, I, q]);
    let guard = Guard::new(Relation::Eq, [(1, q), (-1, J), (-1, k)], 1);
    let conv = p.exprs.sum(&[(k, tap), (q, pos)], [guard], tap_member);
    let phi = p.exprs.apply(Func::Tanh, conv);
    let (one, scale) = (p.exprs.integer(1), p.member(s, &[I]));
    let denominator = p.exprs.add(one, scale);
    let x = p.exprs.div(phi, denominator);
    let x = p.map("x", &[("i", input), ("p", pos)], x);
    let back = p.matmul("back", &[("i", input), ("p", pos)], (w, &[Index::At(2)]), true, (x, &[I, J]));
    // gram[i, p, j] = mean(x[i, p] * first[j]), where first[j] = sum p [p <= 0] h[j, p]
    let at_zero = Guard::new(Relation::Le, [(1, J)], 0);
    let member = p.member(h, &[I, J]);
    let first = p.exprs.sum_exact(&[(J, pos)], [at_zero], member);
    let first = p.map("first", &[("j", input)], first);
    let family = [("i", input), ("p", pos), ("j", input)];
    let (a, b) = (p.member(x, &[I, J]), p.member(first, &[Index::Var(2)]));
    let product = p.exprs.mul(a, b);
    let gram = p.moment("gram", &family, product);
    let power_one = p.exprs.intern(Expr::Pow(a, power(1, 1)));
    let product = p.exprs.intern(Expr::Mul(power_one, b));
    let gram_plain = p.moment("gram_plain", &family, product);
    // edge[i, p] = number of taps inside the picture at p, times s[i], at sqrt(n)
    let inside =
        p.exprs.sum_exact(&[(k, tap), (q, pos)], [Guard::new(Relation::Eq, [(1, q), (-1, J), (-1, k)], 1)], scale);
    let root = p.exprs.width(power(1, 2));
    let edge = p.exprs.mul(inside, root);
    let edge = p.scalar("edge", &[("i", input), ("p", pos)], edge);
    Conv { program: p, u, w, xi, h, s, x, back, gram, gram_plain, edge }
}

#[test]
fn a_convolution_agrees_with_loops() {
    let c = conv();
    let n = 5;
    let (u, w, xi) = (numbers(n * 3, 0.7), numbers(3 * n * n, 1.3), numbers(2 * 4 * 3, 2.1));
    let inputs = Inputs::new().with(c.u, u.clone()).with(c.w, w.clone()).with(c.xi, xi.clone());
    let wanted = [c.x, c.back, c.gram, c.gram_plain, c.edge];
    let state = execute::<f64>(&c.program, &inputs, &wanted, &Options::new(n, 0)).unwrap();

    let h = |i: usize, p: usize, r: usize| (0..3).map(|d| u[d * n + r] * xi[(i * 4 + p) * 3 + d]).sum::<f64>();
    let s = |i: usize| (0..4).flat_map(|p| (0..n).map(move |r| h(i, p, r).powi(2))).sum::<f64>() / (4 * n) as f64;
    let x = |i: usize, p: usize, r: usize| {
        let mut total = 0.0;
        for k in 0..3 {
            if let Some(q) = (p + k).checked_sub(1).filter(|q| *q < 4) {
                total += (0..n).map(|c| w[k * n * n + c * n + r] * h(i, q, c)).sum::<f64>();
            }
        }
        total.tanh() / (1.0 + s(i))
    };
    // A few dozen roundings of numbers of order one.
    let close = |found: f64, expected: f64, what: &str| {
        assert!((found - expected).abs() < 1e-13 * (1.0 + expected.abs()), "{what}: {found}, loops give {expected}");
    };
    for i in 0..2 {
        close(state.numbers(c.s)[i], s(i), "s");
        for p in 0..4 {
            let taps = if p == 0 || p == 3 { 2.0 } else { 3.0 };
            close(state.numbers(c.edge)[i * 4 + p], taps * s(i) * (n as f64).sqrt(), "edge");
            for r in 0..n {
                close(state.block(c.x).unwrap().member(i * 4 + p)[r], x(i, p, r), "x");
                let back: f64 = (0..n).map(|c| w[2 * n * n + r * n + c] * x(i, p, c)).sum();
                close(state.block(c.back).unwrap().member(i * 4 + p)[r], back, "back");
            }
            for j in 0..2 {
                let gram = (0..n).map(|r| x(i, p, r) * h(j, 0, r)).sum::<f64>() / n as f64;
                close(state.numbers(c.gram)[(i * 4 + p) * 2 + j], gram, "gram by GEMM");
                close(state.numbers(c.gram_plain)[(i * 4 + p) * 2 + j], gram, "gram member by member");
            }
        }
    }
    // What was not needed was not computed.
    let state = execute::<f64>(&c.program, &inputs, &[c.s], &Options::new(n, 0)).unwrap();
    assert!(state.block(c.h).is_some() && state.block(c.x).is_none());
}

fn run_with_threads<T: Float>(threads: usize) -> Vec<Block<T>> {
    let c = conv();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let inputs = Inputs::new().with(c.xi, numbers(24, 2.1));
        let state: State<T> =
            execute(&c.program, &inputs, &[c.x, c.back, c.gram, c.gram_plain, c.edge], &Options::new(517, 3)).unwrap();
        c.program.value_ids().filter_map(|id| state.block(id).cloned()).collect()
    })
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    assert!(run_with_threads::<f64>(1) == run_with_threads::<f64>(2));
    assert!(run_with_threads::<f32>(1) == run_with_threads::<f32>(2));
    // Single precision is double precision to some units of 2^-24 after products of length 517.
    for (a, b) in run_with_threads::<f64>(2).iter().zip(run_with_threads::<f32>(2)) {
        for (x, y) in a.data.iter().zip(b.data) {
            assert!((x - f64::from(y)).abs() < 2e-5 * (1.0 + x.abs()), "{x} {y}");
        }
    }
}

/// One vector against a matrix, both ways round: matrix-vector products are split among threads differently.
#[test]
fn single_vectors_have_the_same_bits_too() {
    let run = |threads: usize| {
        let mut p = Program::new("chain");
        let n = p.width();
        let w = p.matrix("W", &[], n, n, over_width());
        let law = Law::iid(&mut p.exprs, integer(0), integer(1));
        let a = p.gaussian("a", &[], n, law);
        let y = p.matmul("y", &[], (w, &[]), false, (a, &[]));
        let b = p.matmul("b", &[], (w, &[]), true, (y, &[]));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| execute::<f64>(&p, &Inputs::new(), &[b], &Options::new(1100, 4)).unwrap())
    };
    assert!(run(1) == run(2) && run(1) == run(3));
}

#[test]
fn drawn_matrices_have_their_moments() {
    let mut p = Program::new("moments");
    let n = p.width();
    let axis = p.axis("k", 2);
    let m = p.class("m", fraction(3, 2));
    let w = p.matrix("W", &[("k", axis)], n, m, Scale::new(integer(2), power(-1, 1)));
    let state = execute::<f64>(&p, &Inputs::new(), &[w], &Options::new(200, 5)).unwrap();
    let block = state.block(w).unwrap();
    assert_eq!((block.rows, block.cols, block.members), (200, 300, 2));
    let count = block.data.len() as f64;
    let z: Vec<f64> = block.data.iter().map(|x| x / (2.0f64 / 200.0).sqrt()).collect();
    // Five standard errors of the k-th sample moment of a standard normal variable.
    for (k, moment, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0f64)] {
        let found = z.iter().map(|x| x.powi(k)).sum::<f64>() / count;
        assert!((found - moment).abs() < 5.0 * (variance / count).sqrt(), "moment {k}: {found}");
    }
    // Members, rows and neighbours are uncorrelated: the product has variance 1.
    let half = z.len() / 2;
    for shift in [1, 200, half] {
        let pairs = z.len() - shift;
        let found = (0..pairs).map(|i| z[i] * z[i + shift]).sum::<f64>() / pairs as f64;
        assert!(found.abs() < 5.0 / (pairs as f64).sqrt(), "shift {shift}: {found}");
    }
}

#[test]
fn another_layer_leaves_the_draws_alone() {
    let mut small = Program::new("small");
    let n = small.width();
    let w = small.matrix("W", &[], n, n, over_width());
    let mut large = Program::new("large");
    let v = large.matrix("V", &[], n, n, over_width());
    let w2 = large.matrix("W", &[], n, n, over_width());
    let options = Options::new(20, 9);
    let a = execute::<f64>(&small, &Inputs::new(), &[w], &options).unwrap();
    let b = execute::<f64>(&large, &Inputs::new(), &[v, w2], &options).unwrap();
    assert!(a.block(w) == b.block(w2));
    assert!(b.block(v) != b.block(w2));
}

/// `a[i]` with a singular covariance table, `b` joint with it, `c` joint with `b`.
fn joint_program(b_with_a: i64) -> (Program, [ValueId; 3]) {
    let mut p = Program::new("joint");
    let n = p.width();
    let (i, j) = (p.axis("i", 3), p.axis("j", 3));
    // a = (g, 2 g, g + h) with independent standard g, h.
    let entries = [1, 2, 1, 2, 4, 2, 1, 2, 2].map(integer).to_vec();
    let table = p.table("K", &[i, j], entries);
    let (zero, covariance) = (p.exprs.integer(0), p.exprs.table(table, [I, J]));
    let a = p.gaussian("a", &[("i", i)], n, Law { mean: zero, covariance, cross: vec![] });
    // b = g + h + ...: covariance with a is (1, 2, 2) scaled, variance 3, mean 1.
    let cross = p.table("C", &[i], [b_with_a, 2 * b_with_a, 2 * b_with_a].map(integer).to_vec());
    let (one, three, cross) = (p.exprs.integer(1), p.exprs.integer(3), p.exprs.table(cross, [I]));
    let b = p.gaussian("b", &[], n, Law { mean: one, covariance: three, cross: vec![(a, cross)] });
    let half = p.exprs.constant(fraction(1, 2));
    let c = p.gaussian("c", &[], n, Law { mean: zero, covariance: one, cross: vec![(b, half)] });
    (p, [a, b, c])
}

#[test]
fn jointly_gaussian_vectors_have_their_covariance() {
    let (p, [a, b, c]) = joint_program(1);
    let n = 40_000;
    let state = execute::<f64>(&p, &Inputs::new(), &[c, b, a], &Options::new(n, 2)).unwrap();
    let columns: Vec<Vec<f64>> = (0..3)
        .map(|k| state.block(a).unwrap().member(k).to_vec())
        .chain([state.numbers(b), state.numbers(c)])
        .collect();
    let mean = [0.0, 0.0, 0.0, 1.0, 0.0];
    let expected = [
        [1.0, 2.0, 1.0, 1.0, 0.0],
        [2.0, 4.0, 2.0, 2.0, 0.0],
        [1.0, 2.0, 2.0, 2.0, 0.0],
        [1.0, 2.0, 2.0, 3.0, 0.5],
        [0.0, 0.0, 0.0, 0.5, 1.0],
    ];
    for i in 0..5 {
        for j in 0..5 {
            let found = (0..n).map(|k| (columns[i][k] - mean[i]) * (columns[j][k] - mean[j])).sum::<f64>() / n as f64;
            // Wick: the variance of the product is K_ii K_jj + K_ij^2.
            let variance: f64 = expected[i][i] * expected[j][j] + expected[i][j] * expected[i][j];
            let error = found - expected[i][j];
            assert!(error.abs() < 5.0 * (variance / n as f64).sqrt(), "{i} {j}: {found}");
        }
    }
    // The table is singular: a[1] = 2 a[0] exactly, up to rounding.
    assert!(columns[0].iter().zip(&columns[1]).all(|(x, y)| (2.0 * x - y).abs() < 1e-14 * (1.0 + y.abs())));
}

#[test]
fn impossible_covariances_are_refused() {
    let (p, [_, b, c]) = joint_program(3);
    let error = execute::<f64>(&p, &Inputs::new(), &[c], &Options::new(4, 2)).unwrap_err();
    assert!(matches!(error, FiniteError::NotPositive { value, .. } if value == "b"));
    let (p, [a, b2, _]) = joint_program(1);
    assert_eq!(b, b2);
    let given = Inputs::new().with(a, vec![0.5; 12]);
    let error = execute::<f64>(&p, &given, &[b], &Options::new(4, 2)).unwrap_err();
    assert_eq!(error, FiniteError::JointWithGiven { value: "b".into(), given: "a".into() });
}

#[test]
fn numbers_that_overflow_are_found_where_they_are_born() {
    let mut p = Program::new("overflow");
    let n = p.width();
    let axis = p.axis("i", 3);
    let law = Law::iid(&mut p.exprs, integer(0), integer(1));
    let a = p.gaussian("a", &[], n, law);
    let s = p.data("s", &[("i", axis)], Kind::Scalar);
    let (a, s_member) = (p.member(a, &[]), p.member(s, &[I]));
    let product = p.exprs.mul(a, s_member);
    let e = p.exprs.apply(Func::Exp, product);
    let y = p.map("y", &[("i", axis)], e);
    let options = Options::new(10, 1);
    let run = |s_values: Vec<f64>| execute::<f64>(&p, &Inputs::new().with(s, s_values), &[y], &options).unwrap_err();
    assert_eq!(run(vec![0.0, 1e6, 1e6]), FiniteError::NotFinite { value: "y".into(), member: vec![1], step: None });
    assert_eq!(
        run(vec![0.0, f64::NAN, 0.0]),
        FiniteError::NotFinite { value: "s".into(), member: vec![1], step: None }
    );
    assert_eq!(run(vec![0.0]), FiniteError::Length { value: "s".into(), expected: 3, found: 1 });
    let inputs = Inputs::new().with(y, vec![0.0; 30]);
    assert_eq!(execute::<f64>(&p, &inputs, &[y], &options).unwrap_err(), FiniteError::NotInitial { value: "y".into() });
    assert_eq!(
        execute::<f64>(&p, &Inputs::new(), &[y], &options).unwrap_err(),
        FiniteError::Missing { value: "s".into() }
    );
    assert_eq!(execute::<f64>(&p, &Inputs::new(), &[y], &Options::new(0, 1)).unwrap_err(), FiniteError::ZeroWidth);
    let small = Options { max_elements: 5, ..options.clone() };
    let error = execute::<f64>(&p, &Inputs::new().with(s, vec![0.0; 3]), &[y], &small).unwrap_err();
    assert!(matches!(error, FiniteError::TooLarge { limit: 5, .. }), "{error}");
}

/// Programs that no verifier has seen give errors, not panics.
#[test]
fn malformed_programs_are_refused() {
    let (template, [a, b, _]) = joint_program(1);
    let value = |instr: Instr, kind: Kind, family: Vec<netsor_ir::Id<netsor_ir::Axis>>| Value {
        name: "bad".into(),
        index_names: vec![],
        ty: netsor_ir::Type { kind, family },
        instr,
    };
    let n = template.width();
    let vector = Kind::Vector(n);
    let check = |mut p: Program, bad: Value, expected: &str| {
        p.values.push(bad);
        let id = ValueId::new(p.values.len() - 1);
        let error = execute::<f64>(&p, &Inputs::new(), &[id], &Options::new(4, 0)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let mut p = template.clone();
    let beyond = p.member(a, &[Index::At(3)]);
    check(p, value(Instr::Map(beyond), vector, vec![]), "beyond its axis of size 3");
    let mut p = template.clone();
    let later = p.exprs.reference(netsor_ir::Symbol(99), []);
    check(p, value(Instr::Map(later), vector, vec![]), "not earlier");
    let mut p = template.clone();
    let arity = p.member(a, &[]);
    check(p, value(Instr::Moment(arity), Kind::Scalar, vec![]), "0 were given");
    let mut p = template.clone();
    let no_scalar = p.member(b, &[]);
    check(p, value(Instr::Scalar(no_scalar), Kind::Scalar, vec![]), "`b` is no scalar");
    let mut p = template.clone();
    let e = p.member(b, &[]);
    check(p.clone(), value(Instr::Map(e), Kind::Scalar, vec![]), "kind does not fit");
    check(p.clone(), value(Instr::Map(e), Kind::Vector(Dim::Finite(3)), vec![]), "has dimension 4, not 3");
    check(p.clone(), value(Instr::Map(e), vector, vec![netsor_ir::Id::new(9)]), "axis that is empty or does not exist");
    check(
        p.clone(),
        value(Instr::Map(e), Kind::Vector(Dim::Width(netsor_ir::Id::new(4))), vec![]),
        "width class that does not exist",
    );
    let indices = [Index::At(0)].into_iter().collect();
    check(
        p,
        value(Instr::Constant(netsor_ir::Id::new(0), indices), Kind::Vector(Dim::Finite(4)), vec![]),
        "its axes are not the indices given",
    );
    let wanted = [ValueId::new(77)];
    let error = execute::<f64>(&template, &Inputs::new(), &wanted, &Options::new(4, 0)).unwrap_err();
    assert!(matches!(error, FiniteError::UnknownName { .. }));
}
