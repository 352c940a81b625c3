//! Whether two numbers of the graph are one by construction: the same operations on the same data.
//!
//! On the diagonal of a kernel, and where an input is repeated, slots of an expectation are one variable, and the error of
//! their covariance is that of their variance. Floats cannot tell: inputs 1e-9 apart have a correlation that rounds to 1.

use netsor_ir::expr::{Expr, ExprId, Sum, Symbol, for_each_child};
use netsor_ir::number::Number;
use netsor_ir::{Dim, Index, Kind, ValueId};
use num_traits::{One, Signed};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::expectation::Entries;
use super::{Evaluator, Value};
use crate::graph::{DefId, Leaf};
use crate::sensitivity::{Alias, aliases};

/// Positions of the index variables of an expression.
type Positions = SmallVec<[u32; 6]>;

/// Pairs of members of a definition, of which it is known whether they are the same.
pub(super) type Known = FxHashMap<(DefId, Positions, Positions), bool>;

/// Pairs of expressions at two tuples of positions that were compared already: where they differ, all is over.
type Seen = FxHashSet<(ExprId, ExprId)>;

/// An expression at positions of its index variables.
#[derive(Clone, Copy)]
struct Place<'a> {
    expr: ExprId,
    at: &'a [u32],
}

impl Place<'_> {
    /// The index with the position of its variable put in.
    fn index(&self, index: Index) -> Index {
        match index {
            Index::Var(k) => self.at.get(k as usize).map_or(index, |&position| Index::At(position)),
            other => other,
        }
    }

    fn with(&self, expr: ExprId) -> Self {
        Self { expr, ..*self }
    }
}

impl Evaluator<'_> {
    /// Which slots are one variable: those for which variances and covariance are one number by construction, or equal
    /// and free of error.
    pub(super) fn aliases(&mut self, lower: &[Value], Entries { exprs, at }: Entries<'_>) -> Vec<Alias> {
        aliases(lower, &mut |i, j| {
            let places = [(i, i), (i, j), (j, j)].map(|(i, j)| i * (i + 1) / 2 + j);
            if places.iter().all(|&k| lower.get(k).is_some_and(|entry| entry.error == 0.0)) {
                return true;
            }
            let [first, mixed, second] = places.map(|k| exprs.get(k).map(|&expr| Place { expr, at }));
            let (Some(first), Some(mixed), Some(second)) = (first, mixed, second) else { return false };
            self.same_up_to_sign(first, second) && self.same_up_to_sign(first, mixed)
        })
    }

    fn same_up_to_sign(&mut self, a: Place<'_>, b: Place<'_>) -> bool {
        let ((c, x), (d, y)) = (self.multiple(a.expr), self.multiple(b.expr));
        c.abs() == d.abs() && self.same(a.with(x), b.with(y), &mut Seen::default())
    }

    /// The expression as a number times another.
    fn multiple(&self, mut expr: ExprId) -> (Number, ExprId) {
        let pool = &self.graph.pool;
        let mut factor = Number::one();
        loop {
            match pool.node(expr) {
                Expr::Neg(a) => {
                    factor = -factor;
                    expr = *a;
                }
                Expr::Mul(a, b) => match (pool.as_const(*a), pool.as_const(*b)) {
                    (Some(c), _) => {
                        factor *= c;
                        expr = *b;
                    }
                    (_, Some(c)) => {
                        factor *= c;
                        expr = *a;
                    }
                    _ => return (factor, expr),
                },
                _ => return (factor, expr),
            }
        }
    }

    fn same(&mut self, a: Place<'_>, b: Place<'_>, seen: &mut Seen) -> bool {
        if a.expr == b.expr && a.at == b.at || !seen.insert((a.expr, b.expr)) {
            return true;
        }
        stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.same_nodes(a, b, seen))
    }

    fn same_nodes(&mut self, a: Place<'_>, b: Place<'_>, seen: &mut Seen) -> bool {
        let graph = self.graph;
        match (graph.pool.node(a.expr), graph.pool.node(b.expr)) {
            (Expr::Const(x), Expr::Const(y)) => x == y,
            (Expr::Pi, Expr::Pi) => true,
            (Expr::Ref(s, i), Expr::Ref(t, j)) => {
                let i: SmallVec<[Index; 6]> = i.iter().map(|&i| a.index(i)).collect();
                let j: SmallVec<[Index; 6]> = j.iter().map(|&j| b.index(j)).collect();
                s == t && (i == j || self.same_members(*s, &i, &j))
            }
            (Expr::Table(s, i), Expr::Table(t, j)) => {
                s == t && i.len() == j.len() && i.iter().zip(j).all(|(&i, &j)| a.index(i) == b.index(j))
            }
            (Expr::Sum(x), Expr::Sum(y)) => {
                let guards = |sum: &Sum, at: Place<'_>| -> Vec<_> {
                    sum.guards.iter().map(|guard| guard.map(|i| at.index(i))).collect()
                };
                x.axes == y.axes && guards(x, a) == guards(y, b) && self.same(a.with(x.body), b.with(y.body), seen)
            }
            (x, y) => {
                let alike = match (x, y) {
                    (Expr::Pow(_, p), Expr::Pow(_, q)) => p == q,
                    (Expr::Apply(f, x), Expr::Apply(g, y)) => f == g && x.len() == y.len(),
                    _ => std::mem::discriminant(x) == std::mem::discriminant(y),
                };
                let (mut left, mut right) = (SmallVec::<[ExprId; 2]>::new(), SmallVec::<[ExprId; 2]>::new());
                for_each_child(x, |child| left.push(child));
                for_each_child(y, |child| right.push(child));
                alike && left.iter().zip(&right).all(|(&x, &y)| self.same(a.with(x), b.with(y), seen))
            }
        }
    }

    /// Two members of a definition or of data, at positions and at variables of sums around them.
    fn same_members(&mut self, symbol: Symbol, i: &[Index], j: &[Index]) -> bool {
        match self.graph.leaf(symbol) {
            Leaf::Value(value) => self.same_data(value, i, j),
            Leaf::Def(def) => {
                let (Some(i), Some(j)) = (positions(i), positions(j)) else { return false };
                self.same_definitions(def, i, j)
            }
            Leaf::Slot(_) | Leaf::Parameter(_) => false,
        }
    }

    fn same_definitions(&mut self, def: DefId, i: Positions, j: Positions) -> bool {
        let key = (def, i, j);
        if let Some(&known) = self.same.get(&key) {
            return known;
        }
        let (_, i, j) = &key;
        let mut seen = Seen::default();
        let exprs = self.graph.def(def).body.exprs();
        let same = exprs.into_iter().all(|expr| self.same(Place { expr, at: i }, Place { expr, at: j }, &mut seen));
        self.same.insert(key, same);
        same
    }

    /// Whether data has the same numbers, at all positions of variables of sums.
    fn same_data(&self, value: ValueId, i: &[Index], j: &[Index]) -> bool {
        let Some(numbers) = self.data.values.get(&value) else { return false };
        let mut sizes = self.program.family_sizes(value);
        if let Kind::Vector(Dim::Finite(size)) = self.program.value(value).ty.kind {
            sizes.push(size as usize);
        }
        if i.len() != sizes.len() || j.len() != sizes.len() {
            return false;
        }
        // Offsets of the two members that are compared, for all positions of the axes so far.
        let mut offsets = vec![(0, 0)];
        for ((&i, &j), &size) in i.iter().zip(j).zip(&sizes) {
            let at = |position: usize, offset: usize| offset * size + position;
            offsets = match (i, j) {
                (Index::At(p), Index::At(q)) => {
                    offsets.into_iter().map(|(a, b)| (at(p as usize, a), at(q as usize, b))).collect()
                }
                (i, j) if i == j => {
                    let all = |(a, b)| (0..size).map(move |p| (at(p, a), at(p, b)));
                    offsets.into_iter().flat_map(all).collect()
                }
                _ => return false,
            };
        }
        offsets.into_iter().all(|(a, b)| numbers.get(a).is_some_and(|x| numbers.get(b) == Some(x)))
    }
}

fn positions(indices: &[Index]) -> Option<Positions> {
    let position = |&index: &Index| match index {
        Index::At(position) => Some(position),
        Index::Var(_) | Index::Bound(_) => None,
    };
    indices.iter().map(position).collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use netsor_gauss::Tolerance;
    use netsor_ir::syntax::parse_program;

    use super::Entries;
    use crate::eval::{Data, Evaluator, Value};
    use crate::graph::{Body, Leaf};
    use crate::{Deriver, LimitError};

    /// The members of `m` by quadrature throughout, for two inputs in the plane.
    fn by_quadrature(text: &str, inputs: [f64; 4]) -> Result<[Value; 3], LimitError> {
        let program = parse_program(text).unwrap();
        let mut deriver = Deriver::new(&program);
        let m = deriver.scalar(program.find("m").unwrap())?;
        let graph = deriver.into_graph();
        let data = Data::new().with(program.find("xi").unwrap(), inputs.to_vec());
        let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default())?.without_closed_forms();
        Ok([evaluator.value(m, &[0, 0])?, evaluator.value(m, &[0, 1])?, evaluator.value(m, &[1, 1])?])
    }

    /// Steps after a layer of relu, whose kernel is 1/2 less the angle over `2 pi`.
    const JUMPS: &str = "program jumps {
      axis i = 2
      data xi[i]: 2
      matrix U: n x 2 ~ N(0, 1)
      matrix V ~ N(0, 1/n)
      h[i] = U * xi[i]
      x[i] = relu(h[i])
      g[i] = V * x[i]
      moment m[i, j in i] = mean(step(g[i]) * step(g[j]))
    }";

    /// Inputs whose kernels are equal to the last bit are not the same: the angle of 1e-9, which a layer of relu keeps up to
    /// its square, is within the error that is stated.
    #[test]
    fn inputs_closer_than_rounding_are_not_one() {
        let angle = 1e-9;
        let [own, mixed, other] = by_quadrature(JUMPS, [1.0, 0.0, 1.0, angle]).unwrap();
        assert_eq!(own.value, other.value);
        let exact = 0.5 - angle / (2.0 * PI);
        assert!((mixed.value - exact).abs() <= mixed.error, "{mixed:?} {exact}");
    }

    /// An input with itself and its copy: no error of a correlation.
    #[test]
    fn an_input_and_its_copy_are_one() {
        let found = by_quadrature(JUMPS, [0.6, -0.8, 0.6, -0.8]).unwrap();
        // Half of the density's mass, by quadrature to the default tolerance of about 1e-10.
        for value in found {
            assert!((value.value - 0.5).abs() < 1e-12 && value.error < 1e-9, "{value:?}");
        }
    }

    /// Two variables that have equal numbers here and are not the same by construction, `h` being `g` up to a moment that
    /// tends to 0: their errors count, if there are any.
    #[test]
    fn errors_of_two_equal_variables_count() {
        let text = "program p {
          matrix W ~ N(0, 1/n)
          vector a ~ N(0, 1)
          vector c ~ N(0, 1)
          moment z = mean(sigmoid(c) - 1/2)
          x = relu(a)
          y = x + z * a
          g = W * x
          h = W * y
          moment m = mean(step(g) * step(h))
          moment own = mean(step(g) * step(-g))
        }";
        let program = parse_program(text).unwrap();
        let mut deriver = Deriver::new(&program);
        let [m, own] = ["m", "own"].map(|name| deriver.scalar(program.find(name).unwrap()).unwrap());
        let graph = deriver.into_graph();
        let data = Data::new();
        let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
        // Each is one expectation in two slots.
        let [of_m, of_own] = [m, own].map(|expr| {
            let Leaf::Def(def) = graph.leaf(graph.pool.refs(expr)[0].0) else { panic!("a definition") };
            let Body::Expect { covariance, .. } = &graph.def(def).body else { panic!("an expectation") };
            &covariance[..]
        });
        let mut slots = |exprs, mixed: f64, error| {
            let values = [0.5, mixed, 0.5].map(|value| Value { value, error });
            let found = evaluator.aliases(&values, Entries { exprs, at: &[] });
            found.iter().map(|alias| (alias.slot, alias.negative)).collect::<Vec<_>>()
        };
        assert_eq!(slots(of_m, 0.5, 0.0), [(0, false), (0, false)]);
        assert_eq!(slots(of_m, 0.5, 1e-9), [(0, false), (1, false)]);
        assert_eq!(slots(of_own, -0.5, 1e-9), [(0, false), (0, true)]);
    }
}
