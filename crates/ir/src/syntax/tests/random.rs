//! Properties of random programs, random texts and random nonsense.

use num_traits::Zero;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use smallvec::SmallVec;

use crate::build::Family;
use crate::expr::{Expr, ExprId, Symbol};
use crate::func::Func;
use crate::id::Id;
use crate::index::{Guard, Index, Relation};
use crate::network::{Network, Parameter};
use crate::number::{Number, Power, fraction, integer};
use crate::program::{Axis, Dim, Instr, Kind, Law, Operand, Program, Scale, Table, Type, Value, ValueId, symbol_of};
use crate::syntax::{Item, format, parse, print_network, print_program};
use crate::verify::{verify_network, verify_program};

/// Choices read from a tape of bytes, so that proptest can shrink them; zeros after its end.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte as usize % bound.max(1)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn number(&mut self) -> Number {
        let choices = [
            integer(2),
            integer(-2),
            fraction(1, 3),
            fraction(-1, 3),
            fraction(1, 2),
            integer(0),
            fraction(-7, 4),
            integer(1),
        ];
        self.pick(&choices)
    }

    fn power(&mut self) -> Power {
        let (p, q) = self.pick(&[(2, 1), (1, 2), (-1, 1), (-3, 2), (3, 1), (1, 1), (0, 1)]);
        Power::new(p, q)
    }
}

/// Well-formed random programs with every kind of instruction and term.
struct Maker<'a> {
    tape: Tape<'a>,
    program: Program,
    fresh: u32,
}

/// Index variables in scope.
type Variables = Vec<(Index, Id<Axis>)>;

impl Maker<'_> {
    fn index(&mut self, axis: Id<Axis>, scope: &Variables) -> Index {
        let fitting: Vec<Index> = scope.iter().filter(|(_, a)| *a == axis).map(|&(i, _)| i).collect();
        let size = self.program.axis_size(axis) as usize;
        if fitting.is_empty() || self.tape.below(4) == 0 {
            return Index::At(self.tape.below(size) as u32);
        }
        self.tape.pick(&fitting)
    }

    fn guard(&mut self, scope: &Variables) -> Guard {
        let relation = self.tape.pick(&[Relation::Eq, Relation::Le, Relation::EqMod(3)]);
        let terms: Vec<(i64, Index)> = (0..self.tape.below(3))
            .map(|_| {
                (self.tape.below(7) as i64 - 3, if scope.is_empty() { Index::At(1) } else { self.tape.pick(scope).0 })
            })
            .collect();
        Guard::new(relation, terms, self.tape.below(7) as i64 - 3)
    }

    /// A term that may mention the values for which `may` holds.
    fn expr(&mut self, depth: usize, scope: &mut Variables, may: &dyn Fn(&Value) -> bool) -> ExprId {
        let leaf = depth == 0;
        let node = match self.tape.below(if leaf { 5 } else { 14 }) {
            0 => Expr::Const(self.tape.number()),
            1 => self.tape.pick(&[
                Expr::Pi,
                Expr::Width(Power::new(1, 1)),
                Expr::Width(Power::new(-1, 2)),
                Expr::Width(Power::zero()),
            ]),
            2 if !self.program.tables.is_empty() => {
                let table = Id::<Table>::new(self.tape.below(self.program.tables.len()));
                let axes = self.program.tables[table.index()].axes.clone();
                Expr::Table(table, axes.iter().map(|&axis| self.index(axis, scope)).collect())
            }
            2..=4 => {
                let fitting: Vec<ValueId> =
                    self.program.value_ids().filter(|&id| may(self.program.value(id))).collect();
                if fitting.is_empty() {
                    Expr::Const(self.tape.number())
                } else {
                    let id = self.tape.pick(&fitting);
                    let family = self.program.value(id).ty.family.clone();
                    Expr::Ref(symbol_of(id), family.iter().map(|&axis| self.index(axis, scope)).collect())
                }
            }
            5 => Expr::Neg(self.expr(depth - 1, scope, may)),
            6 => Expr::Pow(self.expr(depth - 1, scope, may), self.tape.power()),
            7 => {
                let func = self.tape.pick(&Func::ALL);
                let args = (0..func.facts().arity).map(|_| self.expr(depth - 1, scope, may)).collect();
                Expr::Apply(func, args)
            }
            8 | 9 => {
                let axes = self.program.axes.len();
                let outer = scope.len();
                for _ in 0..self.tape.below(3) {
                    scope.push((Index::Var(self.fresh), Id::new(self.tape.below(axes))));
                    self.fresh += 1;
                }
                let mut guards: Vec<Guard> = (0..self.tape.below(3)).map(|_| self.guard(scope)).collect();
                if scope.len() == outer && guards.is_empty() {
                    guards.push(self.guard(scope));
                }
                let body = self.expr(depth - 1, scope, may);
                let bound: Variables = scope.drain(outer..).collect();
                return self.program.exprs.sum_exact(&bound, guards, body);
            }
            op => {
                let (a, b) = (self.expr(depth - 1, scope, may), self.expr(depth - 1, scope, may));
                match op {
                    10 => Expr::Add(a, b),
                    11 => Expr::Sub(a, b),
                    12 => Expr::Mul(a, b),
                    _ => Expr::Div(a, b),
                }
            }
        };
        self.program.exprs.intern(node)
    }

    fn family(&mut self) -> Vec<Id<Axis>> {
        (0..self.tape.below(3)).map(|_| Id::new(self.tape.below(self.program.axes.len()))).collect()
    }

    fn define(&mut self, kind: Kind, family: &[Id<Axis>], instr: Instr) -> ValueId {
        let k = self.program.values.len();
        let mut names: Vec<String> = Vec::new();
        for &axis in family {
            let mut name =
                if self.tape.below(4) == 0 { "j".to_owned() } else { self.program.axes[axis.index()].name.clone() };
            while names.contains(&name) {
                name.push('\'');
            }
            names.push(name);
        }
        let name = if self.tape.below(3) == 0 { format!("v@{k}") } else { format!("v{k}") };
        let ty = Type { kind, family: family.to_vec() };
        self.program.values.push(Value { name, index_names: names, ty, instr });
        ValueId::new(k)
    }

    fn scope(family: &[Id<Axis>]) -> Variables {
        family.iter().enumerate().map(|(k, &axis)| (Index::Var(k as u32), axis)).collect()
    }

    /// A covariance that is positive semi-definite whatever its factors: independent, rank one, or both.
    fn law(&mut self, family: &[Id<Axis>]) -> Law {
        let k = family.len();
        self.fresh = 2 * k as u32;
        let data = |v: &Value| v.instr == Instr::Data && v.ty.kind == Kind::Scalar;
        let mean = self.expr(2, &mut Self::scope(family), &data);
        let variance = self.tape.pick(&[integer(1), fraction(1, 3), integer(0)]);
        let mut law = Law::iid_family(&mut self.program.exprs, integer(0), variance, k);
        if self.tape.below(2) == 0 {
            let factor = self.expr(2, &mut Self::scope(family), &data);
            let second = self.program.exprs.map_indices(factor, &mut |i| match i {
                Index::Var(v) => Index::Var(v + k as u32),
                other => other,
            });
            let product = self.program.exprs.intern(Expr::Mul(factor, second));
            law.covariance = self.program.exprs.intern(Expr::Add(law.covariance, product));
        }
        law.mean = mean;
        law
    }

    fn value(&mut self) {
        let n = self.program.width();
        let family = self.family();
        self.fresh = family.len() as u32;
        let mut scope = Self::scope(&family);
        let finite = Dim::Finite(1 + self.tape.below(2) as u32);
        let dim = self.tape.pick(&[n, n, finite, Dim::Width(Id::new(1))]);
        let scalar = |v: &Value| v.ty.kind == Kind::Scalar;
        let of_dim = move |v: &Value| v.ty.kind == Kind::Scalar || v.ty.kind == Kind::Vector(dim);
        match self.tape.below(9) {
            0 => {
                let kind = self.tape.pick(&[Kind::Scalar, Kind::Vector(finite)]);
                self.define(kind, &family, Instr::Data);
            }
            1 => {
                let other = self.tape.pick(&[n, dim, finite]);
                let (coefficient, power) = (self.tape.number(), self.tape.power());
                let variance = Scale::new(&coefficient * &coefficient, power);
                self.define(Kind::Matrix { rows: dim, cols: other }, &family, Instr::Matrix { variance });
            }
            2 => {
                let law = self.law(&family);
                self.define(Kind::Vector(dim), &family, Instr::Gaussian(law));
            }
            3 => {
                let matrices: Vec<ValueId> = self
                    .program
                    .value_ids()
                    .filter(|&id| matches!(self.program.value(id).ty.kind, Kind::Matrix { .. }))
                    .collect();
                if matrices.is_empty() {
                    return;
                }
                let matrix = self.tape.pick(&matrices);
                let transposed = self.tape.below(2) == 0;
                let Kind::Matrix { rows, cols } = self.program.value(matrix).ty.kind else { return };
                let (result, inner) = if transposed { (cols, rows) } else { (rows, cols) };
                let vectors: Vec<ValueId> = self
                    .program
                    .value_ids()
                    .filter(|&id| self.program.value(id).ty.kind == Kind::Vector(inner))
                    .collect();
                if vectors.is_empty() {
                    return;
                }
                let vector = self.tape.pick(&vectors);
                let mut operand = |value: ValueId| {
                    let axes = self.program.value(value).ty.family.clone();
                    Operand { value, indices: axes.iter().map(|&axis| self.index(axis, &scope)).collect() }
                };
                let instr = Instr::MatMul { matrix: operand(matrix), transposed, vector: operand(vector) };
                self.define(Kind::Vector(result), &family, instr);
            }
            4 => {
                let rows: Vec<(usize, Vec<Id<Axis>>)> =
                    self.program.tables.iter().enumerate().map(|(k, t)| (k, t.axes.clone())).collect();
                let (table, axes) = self.tape.pick(&rows);
                let Some((&last, outer)) = axes.split_last() else { return };
                let indices = outer.iter().map(|&axis| self.index(axis, &scope)).collect();
                let dim = Dim::Finite(self.program.axis_size(last));
                self.define(Kind::Vector(dim), &family, Instr::Constant(Id::new(table), indices));
            }
            5 => {
                let e = self.expr(4, &mut scope, &scalar);
                self.define(Kind::Scalar, &family, Instr::Scalar(e));
            }
            6 => {
                let e = self.expr(4, &mut scope, &of_dim);
                if self.program.expr_dim(e).is_some() {
                    self.define(Kind::Scalar, &family, Instr::Moment(e));
                }
            }
            _ => {
                let e = self.expr(4, &mut scope, &of_dim);
                self.define(Kind::Vector(dim), &family, Instr::Map(e));
            }
        }
    }
}

fn random_network(bytes: &[u8]) -> Network {
    let mut maker = Maker { tape: Tape(bytes), program: Program::new("random"), fresh: 0 };
    for name in ["i", "pos"] {
        let size = 1 + maker.tape.below(3) as u32;
        maker.program.axis(name, size);
    }
    maker.program.class("m", fraction(3, 2));
    for (k, axes) in [vec![], vec![0], vec![1, 0]].into_iter().enumerate() {
        let axes: Vec<Id<Axis>> = axes.into_iter().map(Id::new).collect();
        let size = axes.iter().map(|&a| maker.program.axis_size(a) as usize).product();
        let entries = (0..size).map(|_| maker.tape.number()).collect();
        maker.program.table(&format!("T{k}"), &axes, entries);
    }
    for _ in 0..12 {
        maker.value();
    }
    let Maker { program, mut tape, .. } = maker;
    let mut network = Network { program, ..Network::default() };
    for id in network.program.value_ids() {
        let value = network.program.value(id);
        if matches!(value.instr, Instr::Matrix { .. } | Instr::Gaussian(_)) && tape.below(2) == 0 {
            let square = tape.number();
            let (a, b, c) = (tape.power(), tape.power(), tape.power());
            let trained = tape.below(2) == 0;
            network.parameters.push(Parameter { value: id, multiplier_squared: &square * &square, a, b, c, trained });
        }
        if matches!(value.ty.kind, Kind::Scalar | Kind::Vector(Dim::Finite(_))) && tape.below(2) == 0 {
            network.outputs.push(id);
        }
    }
    network
}

/// Whether two terms are the same tree.
fn same_expr(p: &Program, a: ExprId, q: &Program, b: ExprId) -> bool {
    let (x, y) = (p.exprs.node(a), q.exprs.node(b));
    match (x, y) {
        (Expr::Sum(s), Expr::Sum(t)) => s.axes == t.axes && s.guards == t.guards && same_expr(p, s.body, q, t.body),
        (Expr::Apply(f, s), Expr::Apply(g, t)) => {
            f == g && s.len() == t.len() && s.iter().zip(t).all(|(&s, &t)| same_expr(p, s, q, t))
        }
        (Expr::Neg(s), Expr::Neg(t)) => same_expr(p, *s, q, *t),
        (Expr::Pow(s, k), Expr::Pow(t, l)) => k == l && same_expr(p, *s, q, *t),
        (Expr::Add(s, u), Expr::Add(t, v))
        | (Expr::Sub(s, u), Expr::Sub(t, v))
        | (Expr::Mul(s, u), Expr::Mul(t, v))
        | (Expr::Div(s, u), Expr::Div(t, v)) => same_expr(p, *s, q, *t) && same_expr(p, *u, q, *v),
        _ => x == y,
    }
}

/// Whether two programs are equal but for the ids of their terms.
fn same_program(p: &Program, q: &Program) -> bool {
    let same_value = |(v, w): (&Value, &Value)| {
        v.name == w.name
            && v.index_names == w.index_names
            && v.ty == w.ty
            && match (&v.instr, &w.instr) {
                (Instr::Map(a), Instr::Map(b))
                | (Instr::Moment(a), Instr::Moment(b))
                | (Instr::Scalar(a), Instr::Scalar(b)) => same_expr(p, *a, q, *b),
                (Instr::Gaussian(s), Instr::Gaussian(t)) => {
                    same_expr(p, s.mean, q, t.mean)
                        && same_expr(p, s.covariance, q, t.covariance)
                        && s.cross.len() == t.cross.len()
                        && s.cross.iter().zip(&t.cross).all(|(a, b)| a.0 == b.0 && same_expr(p, a.1, q, b.1))
                }
                (a, b) => a == b,
            }
    };
    p.name == q.name
        && p.axes == q.axes
        && p.classes == q.classes
        && p.tables == q.tables
        && p.values.len() == q.values.len()
        && p.values.iter().zip(&q.values).all(same_value)
}

fn extreme_power(tape: &mut Tape<'_>) -> Power {
    tape.pick(&[Power::new(1, 2), Power::new(i64::MIN, 1), Power::new(i64::MAX, 3), Power::new(1, i64::MAX)])
}

/// Programs without any order: ids out of range, wrong counts, wrong kinds.
fn nonsense(bytes: &[u8]) -> Network {
    let mut tape = Tape(bytes);
    let names = ["x", "n", "sum", "", "h@1", "h@", "a b", "\u{3b1}", "x'"];
    let mut p = if tape.below(4) == 0 { Program::default() } else { Program::new("p") };
    let index = |tape: &mut Tape<'_>| match tape.below(3) {
        0 => Index::Var(tape.below(4) as u32),
        1 => Index::Bound(tape.below(3) as u32),
        _ => Index::At(tape.below(5) as u32),
    };
    for _ in 0..tape.below(3) {
        let (name, size) = (tape.pick(&names), tape.below(4) as u32);
        p.axis(name, size);
    }
    if tape.below(2) == 0 {
        let axes: Vec<Id<Axis>> = (0..tape.below(3)).map(|_| Id::new(tape.below(3))).collect();
        let entries = (0..tape.below(5)).map(|_| tape.number()).collect();
        p.table(tape.pick(&names), &axes, entries);
    }
    for _ in 0..8 {
        let child = |tape: &mut Tape<'_>, p: &Program| Id::new(tape.below(p.exprs.len()));
        let indices = (0..tape.below(3)).map(|_| index(&mut tape)).collect();
        let node = if p.exprs.is_empty() {
            Expr::Const(tape.number())
        } else {
            match tape.below(7) {
                0 => Expr::Ref(Symbol(tape.below(6) as u32), indices),
                1 => Expr::Table(Id::new(tape.below(3)), indices),
                2 => {
                    let func = tape.pick(&Func::ALL);
                    Expr::Apply(func, (0..tape.below(4)).map(|_| child(&mut tape, &p)).collect())
                }
                3 => Expr::Width(extreme_power(&mut tape)),
                4 => {
                    let relation = tape.pick(&[Relation::Eq, Relation::EqMod(0)]);
                    let guards =
                        (0..tape.below(3)).map(|_| Guard::new(relation, [(1 << 40, index(&mut tape))], 0)).collect();
                    let axes: SmallVec<[Id<Axis>; 2]> = (0..tape.below(3)).map(|_| Id::new(tape.below(4))).collect();
                    let body = child(&mut tape, &p);
                    Expr::Sum(crate::expr::Sum { axes, guards, body })
                }
                5 => Expr::Neg(child(&mut tape, &p)),
                _ => Expr::Div(child(&mut tape, &p), child(&mut tape, &p)),
            }
        };
        p.exprs.intern(node);
    }
    for _ in 0..6 {
        let e = Id::new(tape.below(p.exprs.len() + 2));
        let value = |tape: &mut Tape<'_>| ValueId::new(tape.below(8));
        let dim = |tape: &mut Tape<'_>| {
            if tape.below(2) == 0 { Dim::Finite(tape.below(3) as u32) } else { Dim::Width(Id::new(tape.below(3))) }
        };
        let operand = |tape: &mut Tape<'_>| Operand {
            value: value(tape),
            indices: (0..tape.below(3)).map(|_| index(tape)).collect(),
        };
        let instr = match tape.below(8) {
            0 => Instr::Data,
            1 => Instr::Constant(Id::new(tape.below(3)), (0..tape.below(3)).map(|_| index(&mut tape)).collect()),
            2 => Instr::Matrix { variance: Scale::new(tape.number(), extreme_power(&mut tape)) },
            3 => Instr::Gaussian(Law { mean: e, covariance: e, cross: vec![(value(&mut tape), e)] }),
            4 => Instr::MatMul { matrix: operand(&mut tape), transposed: true, vector: operand(&mut tape) },
            5 => Instr::Map(e),
            6 => Instr::Moment(e),
            _ => Instr::Scalar(e),
        };
        let kind = match tape.below(3) {
            0 => Kind::Scalar,
            1 => Kind::Vector(dim(&mut tape)),
            _ => Kind::Matrix { rows: dim(&mut tape), cols: dim(&mut tape) },
        };
        let family: Vec<(&str, Id<Axis>)> =
            (0..tape.below(3)).map(|_| (tape.pick(&names), Id::new(tape.below(3)))).collect();
        let family: Family<'_> = &family;
        let name = tape.pick(&names);
        p.define(name, family, kind, instr);
        if tape.below(3) == 0
            && let Some(value) = p.values.last_mut()
        {
            value.index_names.pop();
        }
    }
    let parameters = (0..tape.below(3))
        .map(|_| Parameter::ntk(ValueId::new(tape.below(8)), &Scale::constant(tape.number())))
        .collect();
    let outputs = (0..tape.below(3)).map(|_| ValueId::new(tape.below(8))).collect();
    Network { program: p, parameters, outputs }
}

const PIECES: [&str; 62] = [
    "\n", "\n", "\n", " ", "#c", "program", "network", "p", "{", "}", "axis", "i", "=", "4", "2", "0", "1.5", "width",
    "m", "table", "T", "[", "]", ",", "1", "data", "xi", ":", "scalar", "param", "U", "n", "x", "~", "N", "(", ")",
    "matrix", "W", "vector", "a", "cov", "joint", "frozen", "with", "const", "moment", "mean", "output", "for", "in",
    "t", "..=", "stack", "@", "'", "sum", "mod", "+", "-", "^", "\u{e9}",
];

const SOURCES: [&str; 3] = [
    include_str!("../../../../../examples/mlp.netsor"),
    include_str!("../../../../../examples/conv.netsor"),
    include_str!("../../../../../examples/layernorm.netsor"),
];

/// What holds of any text at all.
fn check_text(source: &str) {
    let parsed = parse(source);
    if let Err(problems) = &parsed {
        assert!(!problems.list.is_empty());
        problems.render(source, "random");
    }
    if let Ok(laid_out) = format(source) {
        assert_eq!(format(&laid_out).unwrap(), laid_out, "formatting twice changes more");
        let print = |items: &[crate::syntax::ParsedItem]| items.iter().map(|p| p.item.print()).collect::<String>();
        match (&parsed, parse(&laid_out)) {
            (Ok(before), Ok(after)) => assert_eq!(print(before), print(&after)),
            (before, after) => assert_eq!(before.is_ok(), after.is_ok()),
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 500, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn printing_and_parsing_are_inverse(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let network = random_network(&bytes);
        let text = print_network(&network);
        // Covariances may be larger than what is checked exactly, but never wrong.
        let verified = verify_network(network).unwrap_or_else(|e| panic!("{}", e.render("", "printed")));
        let parsed = parse(&text).unwrap_or_else(|e| panic!("{}", e.render(&text, "printed")));
        let Item::Network(again) = &parsed[0].item else { panic!("a network") };
        prop_assert!(same_program(&verified.program, &again.program), "{text}");
        prop_assert_eq!(&verified.parameters, &again.parameters);
        prop_assert_eq!(&verified.outputs, &again.outputs);
        prop_assert_eq!(print_network(again), text.clone());
        prop_assert_eq!(format(&text).unwrap(), text);
    }

    #[test]
    fn random_tokens_never_panic(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..80)) {
        check_text(&pieces.join(" "));
        check_text(&format!("program p {{\n{}\n}}", pieces.join(" ")));
    }

    #[test]
    fn random_characters_never_panic(source in "\\PC{0,60}") {
        check_text(&source);
    }

    #[test]
    fn damaged_sources_never_panic(source in proptest::sample::select(&SOURCES[..]), cuts in proptest::collection::vec((any::<u16>(), 0usize..12, proptest::sample::select(&PIECES[..])), 1..4)) {
        let mut text = source.to_owned();
        for (at, length, piece) in cuts {
            let start = at as usize % (text.len() + 1);
            let end = (start + length).min(text.len());
            if text.is_char_boundary(start) && text.is_char_boundary(end) {
                text.replace_range(start..end, piece);
            }
        }
        check_text(&text);
    }

    #[test]
    fn nonsense_is_reported_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let network = nonsense(&bytes);
        print_program(&network.program);
        if let Err(problems) = verify_program(network.program.clone()) {
            problems.render("", "printed");
        }
        if let Err(problems) = verify_network(network) {
            problems.render("", "printed");
        }
    }
}

#[test]
fn deep_and_long_inputs_do_not_overflow_the_stack() {
    let deep = |open: &str, close: &str| {
        format!(
            "program p {{\n  vector a ~ N(0, 1)\n  axis i = 2\n  y = {}a{}\n}}",
            open.repeat(20_000),
            close.repeat(20_000)
        )
    };
    for source in [
        deep("(", ")"),
        deep("tanh(", ")"),
        deep("-", ""),
        deep("- (", ")"),
        deep("sum i ", ""),
        deep("2 * sum [0 = 0] ", ""),
        deep("(", ""),
        format!("program p {{\n  table T = {}1\n}}", "[".repeat(20_000)),
        format!("program p {{\n{}", "for t in 1..=1 {\n".repeat(20_000)),
        "}\n".repeat(20_000),
        "program p {\n".repeat(5_000),
    ] {
        assert!(parse(&source).is_err());
    }
    // Long is not deep.
    let long = format!(
        "program p {{\n  vector a ~ N(0, 1)\n  y = a{}\n  z = a{}\n}}",
        " + a".repeat(20_000),
        " * a".repeat(20_000)
    );
    let program = crate::syntax::parse_program(&long).unwrap();
    assert_eq!(print_program(&program), format(&long).unwrap());
}

#[test]
fn endless_loops_are_refused() {
    for source in [
        "program p { for t in 1..=4000000000 { } }",
        "program p {\n for t in 0..1000000 {\n for s in 0..1000000 {\n }\n }\n}",
    ] {
        let problems = parse(source).unwrap_err();
        assert!(problems.list.iter().any(|d| d.code == "too-large"), "{problems}");
    }
}
