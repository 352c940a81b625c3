//! A network that has everything: two widths, a convolution with shared weights, layer norm and batch statistics by
//! Moments, attention with softmax, W and W', biases, a constant-size head.

use netsor_ir::expr::ExprId;
use netsor_ir::func::Func;
use netsor_ir::index::{Guard, Index, Relation};
use netsor_ir::network::{Network, Parameter};
use netsor_ir::number::{fraction, integer, power};
use netsor_ir::program::{Dim, Kind, Law, Program, Scale, ValueId};
use netsor_ir::verify::{Verified, verify_network};

const I: Index = Index::Var(0);
const P: Index = Index::Var(1);
const Q: Index = Index::Var(2);

pub(crate) struct Everything {
    pub(crate) network: Verified<Network>,
    /// Inputs `xi[i, p]`: three inputs, four positions, dimension 2.
    pub(crate) xi: ValueId,
}

/// A square root of a mean square with a constant added: `(mean + 1/10)^(1/2)`.
fn root_of(p: &mut Program, mean: ExprId) -> ExprId {
    let tenth = p.exprs.constant(fraction(1, 10));
    let sum = p.exprs.add(mean, tenth);
    p.exprs.pow(sum, power(1, 2))
}

pub(crate) fn everything() -> Everything {
    let mut p = Program::new("everything");
    let n = p.width();
    let m = p.class("m", fraction(3, 2));
    let (input, pos, tap) = (p.axis("input", 3), p.axis("pos", 4), p.axis("tap", 3));
    let family = [("i", input), ("p", pos)];
    let mut parameters = Vec::new();
    let mut declare = |value: ValueId, multiplier: i64, a: (i64, i64), c: (i64, i64)| {
        parameters.push(Parameter {
            value,
            multiplier_squared: integer(multiplier),
            a: power(a.0, a.1),
            b: power(1, 2),
            c: power(c.0, c.1),
            trained: true,
        });
    };
    let over = |k: i64| Scale::new(integer(k), power(-1, 1));

    let xi = p.data("xi", &family, Kind::Vector(Dim::Finite(2)));
    let u = p.matrix("U", &[("k", tap)], n, Dim::Finite(2), Scale::constant(integer(1)));
    declare(u, 2, (0, 1), (0, 1));
    let law = Law::iid_family(&mut p.exprs, integer(0), fraction(1, 4), 1);
    let bias = p.gaussian("b", &[("p", pos)], n, law);
    declare(bias, 1, (-1, 2), (1, 2));
    let w = p.matrix("W", &[], m, n, over(1));
    declare(w, 1, (0, 1), (1, 1));
    let o = p.matrix("O", &[], n, n, over(2));
    declare(o, 3, (1, 2), (0, 1));
    let v = p.matrix("V", &[], n, Dim::Finite(3), over(1));
    declare(v, 1, (1, 1), (-1, 1));
    let head = p.matrix("H", &[], Dim::Finite(2), Dim::Finite(3), Scale::constant(integer(1)));
    declare(head, 1, (0, 1), (0, 1));
    let frozen = p.matrix("F", &[], n, n, over(1));

    // Convolution with zero padding and a bias: g[i, p] = sum k, q [q = p + k - 1] U[k] xi[i, q] + b[p]
    let taps = p.matmul("taps", &[("k", tap), ("i", input), ("q", pos)], (u, &[I]), false, (xi, &[P, Q]));
    let (k, q) = (Index::Var(8), Index::Var(9));
    let tapped = p.member(taps, &[k, I, q]);
    let guard = Guard::new(Relation::Eq, [(1, q), (-1, P), (-1, k)], 1);
    let conv = p.exprs.sum_exact(&[(k, tap), (q, pos)], [guard], tapped);
    let shift = p.member(bias, &[P]);
    let g = p.exprs.add(conv, shift);
    let g = p.map("g", &family, g);
    // Batch statistics: s[p] = mean over inputs and coordinates of g^2 / 3
    let member = p.member(g, &[Q, I]);
    let square = p.exprs.pow(member, power(2, 1));
    let third = p.exprs.constant(fraction(1, 3));
    let square = p.exprs.mul(third, square);
    let sum = p.exprs.sum(&[(Q, input)], [], square);
    let s = p.moment("s", &[("p", pos)], sum);
    let (g_member, s_member) = (p.member(g, &[I, P]), p.member(s, &[P]));
    let root = root_of(&mut p, s_member);
    let normal = p.exprs.div(g_member, root);
    let x = p.exprs.apply(Func::Tanh, normal);
    let x = p.map("x", &family, x);
    // There and back: W' W, through the other width.
    let h = p.matmul("h", &family, (w, &[]), false, (x, &[I, P]));
    let h_member = p.member(h, &[I, P]);
    let y = p.exprs.apply(Func::Gelu, h_member);
    let y = p.map("y", &family, y);
    let back = p.matmul("back", &family, (w, &[]), true, (y, &[I, P]));
    // Attention: a[i, p, q] = mean(back[i, p] * x[i, q]) * sqrt(n), softmax over q, values O x and F x.
    let (a, b) = (p.member(back, &[I, P]), p.member(x, &[I, Q]));
    let product = p.exprs.mul(a, b);
    let scores = p.moment("scores", &[("i", input), ("p", pos), ("q", pos)], product);
    let root_n = p.exprs.width(power(1, 2));
    let exp_of = |p: &mut Program, index: Index| {
        let score = p.member(scores, &[I, P, index]);
        let score = p.exprs.mul(root_n, score);
        p.exprs.apply(Func::Exp, score)
    };
    let numerator = exp_of(&mut p, Q);
    let other = exp_of(&mut p, Index::Var(8));
    let denominator = p.exprs.sum(&[(Index::Var(8), pos)], [], other);
    let softmax = p.exprs.div(numerator, denominator);
    let softmax = p.scalar("softmax", &[("i", input), ("p", pos), ("q", pos)], softmax);
    let values = p.matmul("values", &family, (o, &[]), false, (x, &[I, P]));
    let still = p.matmul("still", &family, (frozen, &[]), true, (x, &[I, P]));
    let (weight, value) = (p.member(softmax, &[I, P, Q]), p.member(values, &[I, Q]));
    let mixed = p.exprs.mul(weight, value);
    let mixed = p.exprs.sum(&[(Q, pos)], [], mixed);
    let still = p.member(still, &[I, P]);
    let mixed = p.exprs.add(mixed, still);
    let mixed = p.map("mixed", &family, mixed);
    // Layer norm, by centred second moments.
    let member = p.member(mixed, &[I, P]);
    let centre = p.moment("centre", &family, member);
    let centre = p.member(centre, &[I, P]);
    let centred = p.exprs.sub(member, centre);
    let square = p.exprs.pow(centred, power(2, 1));
    let spread = p.moment("spread", &family, square);
    let spread = p.member(spread, &[I, P]);
    let root = root_of(&mut p, spread);
    let normed = p.exprs.div(centred, root);
    // Pooling over positions, readout, head.
    let pooled = p.map("normed", &family, normed);
    let pooled = p.member(pooled, &[I, P]);
    let pooled = p.exprs.sum(&[(P, pos)], [], pooled);
    let pooled = p.map("pooled", &[("i", input)], pooled);
    let readout = p.matmul("readout", &[("i", input)], (v, &[]), true, (pooled, &[I]));
    let readout = p.member(readout, &[I]);
    let readout = p.exprs.apply(Func::Sigmoid, readout);
    let readout = p.map("soft", &[("i", input)], readout);
    let f = p.matmul("f", &[("i", input)], (head, &[]), false, (readout, &[I]));
    let network = Network { program: p, parameters, outputs: vec![f] };
    Everything { network: verify_network(network).unwrap(), xi }
}

/// Numbers without a pattern.
pub(crate) fn numbers(count: usize, salt: f64) -> Vec<f64> {
    (0..count).map(|k| ((k as f64 + 1.0) * salt).sin()).collect()
}
