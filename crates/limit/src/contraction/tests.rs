//! Against the definition of a sum: every term of every assignment.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::index::{Guard, Relation, Truth, position};
use netsor_ir::number::{integer, to_f64};
use netsor_ir::program::{Axis, Table};
use netsor_ir::{Id, Index, Program};

use super::Contraction;
use crate::eval::{Data, Evaluator};
use crate::graph::Graph;
use netsor_gauss::Tolerance;

/// A linear congruential generator (Knuth, MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Programs with random sums over tables of small whole numbers, so that every order of addition gives the same.
struct Sums {
    random: Random,
    program: Program,
    fresh: u32,
}

/// Positions of the free variables, below the size of every axis.
const AT: [u32; 2] = [1, 0];

impl Sums {
    fn new(seed: u64) -> Self {
        let mut program = Program::new("p");
        program.axes = [2, 3, 4].map(|size| Axis { name: format!("a{size}"), size }).to_vec();
        Self { random: Random(seed), program, fresh: 10 }
    }

    /// An entry of a new table at some of the indices in scope.
    fn entry(&mut self, scope: &[(Index, Id<Axis>)]) -> ExprId {
        let chosen: Vec<_> = (0..1 + self.random.below(3)).map(|_| scope[self.random.below(scope.len())]).collect();
        let axes: Vec<Id<Axis>> = chosen.iter().map(|&(_, axis)| axis).collect();
        let size: u32 = axes.iter().map(|&a| self.program.axes[a.index()].size).product();
        let entries = (0..size).map(|_| integer([-3, -2, -1, 1, 2, 3][self.random.below(6)])).collect();
        let table = Id::new(self.program.tables.len());
        self.program.tables.push(Table { name: format!("t{}", self.program.tables.len()), axes, entries });
        self.program.exprs.table(table, chosen.iter().map(|&(index, _)| index))
    }

    fn guard(&mut self, scope: &[(Index, Id<Axis>)]) -> Guard {
        let relation = match self.random.below(6) {
            0 => Relation::Le,
            1 => Relation::EqMod(2 + self.random.below(3) as u32),
            _ => Relation::Eq,
        };
        let terms: Vec<(i64, Index)> = (0..2 + self.random.below(2))
            .map(|_| ([1, -1, 1, -1, 2, -2][self.random.below(6)], scope[self.random.below(scope.len())].0))
            .collect();
        Guard::new(relation, terms, self.random.below(4) as i64 - 1)
    }

    /// A sum of products of entries, sums of entries, and sums.
    fn sum(&mut self, depth: usize, around: &[(Index, Id<Axis>)]) -> ExprId {
        let mut scope = around.to_vec();
        for _ in 0..self.random.below(4) {
            scope.push((Index::Var(self.fresh), Id::new(self.random.below(3))));
            self.fresh += 1;
        }
        let guards: Vec<Guard> = (0..self.random.below(3)).map(|_| self.guard(&scope)).collect();
        let mut body = self.entry(&scope);
        for _ in 0..1 + self.random.below(3) {
            let factor = match self.random.below(4) {
                0 => {
                    let (a, b) = (self.entry(&scope), self.entry(&scope));
                    self.program.exprs.sub(a, b)
                }
                1 | 2 if 0 < depth => self.sum(depth - 1, &scope),
                _ => self.entry(&scope),
            };
            body = self.program.exprs.mul(body, factor);
        }
        self.program.exprs.sum(&scope[around.len()..], guards, body)
    }
}

/// The value by the definition.
fn brute(program: &Program, id: ExprId, bound: &[u32]) -> f64 {
    let of = |id: ExprId| brute(program, id, bound);
    match program.exprs.node(id) {
        Expr::Const(value) => to_f64(value),
        Expr::Table(table, indices) => {
            let table = &program.tables[table.index()];
            let place = indices.iter().zip(&table.axes).fold(0, |place, (&index, axis)| {
                place * program.axes[axis.index()].size + position(index, &AT, bound).unwrap()
            });
            to_f64(&table.entries[place as usize])
        }
        Expr::Neg(a) => -of(*a),
        Expr::Sub(a, b) => of(*a) - of(*b),
        Expr::Add(a, b) => of(*a) + of(*b),
        Expr::Mul(a, b) => of(*a) * of(*b),
        Expr::Sum(sum) => {
            let base = program.exprs.height(sum.body) as usize;
            let sizes: Vec<u32> = sum.axes.iter().map(|a| program.axes[a.index()].size).collect();
            let mut total = 0.0;
            for mut flat in 0..sizes.iter().product::<u32>() {
                let mut bound = bound.to_vec();
                bound.resize(bound.len().max(base + sizes.len()), 0);
                for (k, size) in sizes.iter().enumerate() {
                    bound[base + k] = flat % size;
                    flat /= size;
                }
                let fixed = |index| Index::At(position(index, &AT, &bound).unwrap());
                if sum.guards.iter().all(|g| g.map(fixed).truth() == Truth::Always) {
                    total += brute(program, sum.body, &bound);
                }
            }
            total
        }
        other => panic!("no such term is made: {other:?}"),
    }
}

#[test]
fn random_sums() {
    let (mut trees, mut inner, mut nonzero) = (0, 0, 0);
    for seed in 0..600 {
        let mut sums = Sums::new(seed);
        let around = [(Index::Var(0), Id::new(0)), (Index::Var(1), Id::new(1))];
        let sum = sums.sum(2, &around);
        let program = sums.program;
        let expected = brute(&program, sum, &[]);
        let (graph, data) = (Graph::new(&program), Data::new());
        let found = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(sum, &AT).unwrap();
        assert_eq!(found.value, expected, "seed {seed}: {}", crate::show::text(&graph, &program, sum));
        if let Some(contraction) = Contraction::new(&graph, sum, &|_| false) {
            trees += usize::from(1 < contraction.partials.len());
            inner += usize::from(contraction.partials.iter().any(|p| p.guards.iter().any(|g| g.terms().len() > 1)));
        }
        nonzero += usize::from(expected != 0.0);
    }
    assert!(100 < trees && 100 < inner && 100 < nonzero, "{trees} {inner} {nonzero}");
}

/// The gradient of a convolution behind a pooling, in one dimension: the sum over taps, windows and positions of
/// `e(r, r') d(q, q') x(s, s')` with `s = q + k - 1`, `q = 2 r + l` and the same on the other side.
#[test]
fn a_convolution_is_summed_axis_by_axis() {
    let mut program = Program::new("p");
    let n = 12;
    let sizes = [n, n / 2, 3];
    program.axes = sizes.map(|size| Axis { name: format!("a{size}"), size }).to_vec();
    let [q, r, l, k, s] = [0, 1, 2, 2, 0].map(Id::new);
    let index = |number: u32| Index::Var(number);
    let names: Vec<(Index, Id<Axis>)> =
        [q, q, r, r, l, l, s, s, k].into_iter().enumerate().map(|(i, axis)| (index(i as u32), axis)).collect();
    let mut entry = |name: &str, axes: [Id<Axis>; 2], at: [u32; 2]| {
        let size = sizes[axes[0].index()] * sizes[axes[1].index()];
        let table = Id::new(program.tables.len());
        let entries = (0..size).map(|i| integer(i64::from(i * i % 7) - 3)).collect();
        program.tables.push(Table { name: name.to_owned(), axes: axes.to_vec(), entries });
        program.exprs.table(table, at.map(index))
    };
    let factors = [entry("d", [q, q], [0, 1]), entry("e", [r, r], [2, 3]), entry("x", [s, s], [6, 7])];
    let product = program.exprs.mul(factors[0], factors[1]);
    let product = program.exprs.mul(product, factors[2]);
    let equation = |terms: &[(i64, u32)], constant: i64| {
        Guard::new(Relation::Eq, terms.iter().map(|&(c, i)| (c, index(i))), constant)
    };
    let mut guards = Vec::new();
    for side in 0..2 {
        guards.push(equation(&[(1, side), (-2, 2 + side), (-1, 4 + side)], 0));
        guards.push(equation(&[(1, 6 + side), (-1, side), (-1, 8)], 1));
    }
    let sum = program.exprs.sum(&names, guards, product);
    let graph = Graph::new(&program);
    let contraction = Contraction::new(&graph, sum, &|_| false).unwrap();
    // No partial sum depends on more than one position of each side, and taps are solved for.
    for partial in &contraction.partials {
        assert!(partial.free.len() <= 4, "{partial:?}");
    }
    let summed: usize = contraction.partials.iter().map(|p| p.variables.len()).sum();
    assert_eq!(summed, 6);
    let data = Data::new();
    let found = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap().value(sum, &AT).unwrap();
    // All terms, in loops: 12^2 6^2 3^2 12^2 3 assignments are too many for the definition.
    let table = |i: u32| f64::from(i * i % 7) - 3.0;
    let mut expected = 0.0;
    for (r, r2, l, l2, k) in (0..6 * 6 * 27).map(|f| (f % 6, f / 6 % 6, f / 36 % 3, f / 108 % 3, f / 324)) {
        let (q, q2) = (2 * r + l, 2 * r2 + l2);
        let (s, s2) = (i64::from(q + k) - 1, i64::from(q2 + k) - 1);
        let inside = |x: i64| (0..i64::from(n)).contains(&x);
        if q < n && q2 < n && inside(s) && inside(s2) {
            expected += table(q * n + q2) * table(r * 6 + r2) * table(s as u32 * n + s2 as u32);
        }
    }
    assert_eq!(found.value, expected);
}
