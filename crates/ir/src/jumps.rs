//! The singular part of a weak derivative: where an expression jumps, and by how much.
//!
//! The chain rule is not valid for a function of a jump: the derivative of `tanh(sign(x))` is not
//! `(1 - tanh(sign(x))^2) 2 delta(x)`, and that of `sign(x) step(x)` is `delta(x)`, though `sign` and `step` have no
//! value at 0 that would say so. What is valid is Volpert's rule: where an expression `E` has the jump functions of one
//! argument `a`, it contributes `delta(a) (E with all of them above - E with all of them below) da`.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use num_traits::Signed;

use crate::expr::{Expr, ExprId, Exprs};
use crate::func::Func;

/// The functions that jump at one place.
struct Place {
    /// What is zero there.
    argument: ExprId,
    /// The nodes `step(c argument)` and `sign(c argument)`, with the values below and above.
    functions: Vec<(ExprId, [i64; 2])>,
}

impl Exprs {
    /// The jumps of an expression outside of its sums: pairs `(a, [E])` such that `delta(a) [E] da` belongs to the weak
    /// derivative, `[E]` being the value just above `a = 0` less the value just below.
    ///
    /// Multiples of one argument count as one place. Inside a sum the members of a family jump at places of their own;
    /// who opens the sum asks again.
    pub(crate) fn jumps(&mut self, root: ExprId) -> Vec<(ExprId, ExprId)> {
        let places = self.places(root);
        let mut found = Vec::new();
        for place in places {
            let mut sides: FxHashMap<ExprId, [ExprId; 2]> = FxHashMap::default();
            for (node, [below, above]) in place.functions {
                let values = [self.integer(below), self.integer(above)];
                sides.insert(node, values);
            }
            let jump = self.jump_at(root, sides);
            if !self.is_zero(jump) {
                found.push((place.argument, jump));
            }
        }
        found
    }

    fn places(&mut self, root: ExprId) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for id in self.outside_sums(root) {
            let Expr::Apply(func, args) = self.node(id).clone() else { continue };
            let mut values = match func {
                Func::Step => [0, 1],
                Func::Sign => [-1, 1],
                _ => continue,
            };
            let (constant, argument) = self.constant_factor(args[0]);
            if constant.is_negative() {
                values.reverse();
            }
            match places.iter_mut().find(|p| p.argument == argument) {
                Some(place) => place.functions.push((id, values)),
                None => places.push(Place { argument, functions: vec![(id, values)] }),
            }
        }
        places
    }

    /// The difference of `root` above and below, given both values of the nodes that jump.
    ///
    /// Sums and products are differenced term by term, so that only what depends on the jump appears in the result.
    fn jump_at(&mut self, root: ExprId, mut sides: FxHashMap<ExprId, [ExprId; 2]>) -> ExprId {
        let mut jumps: FxHashMap<ExprId, ExprId> = FxHashMap::default();
        for id in self.outside_sums(root) {
            if let Some(&[below, above]) = sides.get(&id) {
                let jump = self.sub(above, below);
                jumps.insert(id, jump);
                continue;
            }
            let node = self.node(id).clone();
            let mut children: SmallVec<[ExprId; 2]> = SmallVec::new();
            if !matches!(node, Expr::Sum(_)) {
                crate::expr::for_each_child(&node, |child| children.push(child));
            }
            if !children.iter().any(|child| jumps.contains_key(child)) {
                continue;
            }
            let [below, above] = [0, 1].map(|side| {
                let value = |child: ExprId| sides.get(&child).map_or(child, |values| values[side]);
                let node = crate::expr::with_children(&node, value);
                self.simplified(node)
            });
            let zero = self.integer(0);
            let jump_of = |child: &ExprId| jumps.get(child).copied().unwrap_or(zero);
            let jump = match node {
                Expr::Neg(a) => self.neg(jump_of(&a)),
                Expr::Add(a, b) => self.add(jump_of(&a), jump_of(&b)),
                Expr::Sub(a, b) => self.sub(jump_of(&a), jump_of(&b)),
                Expr::Mul(a, b) => {
                    let above_b = sides.get(&b).map_or(b, |values| values[1]);
                    let below_a = sides.get(&a).map_or(a, |values| values[0]);
                    let first = self.mul(jump_of(&a), above_b);
                    let second = self.mul(below_a, jump_of(&b));
                    self.add(first, second)
                }
                Expr::Div(a, b) if !jumps.contains_key(&b) => self.div(jump_of(&a), b),
                _ => self.sub(above, below),
            };
            sides.insert(id, [below, above]);
            jumps.insert(id, jump);
        }
        jumps.get(&root).copied().unwrap_or_else(|| self.integer(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Symbol;

    /// Each expression, and its jump at `x = 0`.
    #[test]
    fn jumps_are_differences_of_the_two_sides() {
        let mut e = Exprs::new();
        let (x, y) = (e.reference(Symbol(0), []), e.reference(Symbol(1), []));
        let (sign, step) = (e.apply(Func::Sign, x), e.apply(Func::Step, x));
        let minus = e.neg(x);
        let mirrored = e.apply(Func::Step, minus);
        let (one, two) = (e.integer(1), e.integer(2));

        let product = e.mul(sign, step);
        assert_eq!(e.jumps(product), [(x, one)], "sign(x) step(x) = step(x)");
        let both = e.add(step, mirrored);
        assert_eq!(e.jumps(both), [], "step(x) + step(-x) = 1 almost everywhere");
        let cube = e.mul(step, product);
        assert_eq!(e.jumps(cube), [(x, one)]);
        let composed = e.apply(Func::Tanh, sign);
        let [low, high] = [-1, 1].map(|k| {
            let k = e.integer(k);
            e.apply(Func::Tanh, k)
        });
        let gap = e.sub(high, low);
        assert_eq!(e.jumps(composed), [(x, gap)], "the chain rule would give (1 - tanh(sign(x))^2) 2");
        let weighted = e.mul(y, sign);
        let sum = e.add(weighted, y);
        let jump = e.mul(two, y);
        assert_eq!(e.jumps(sum), [(x, jump)], "what does not jump is not in the jump");
    }
}
