//! Sums of products, in an order that keeps partial sums small.
//!
//! Covariances of convolutions and their gradients are sums over a dozen indices of products of few factors, each of
//! which mentions some of the indices, restricted by guards. Term by term the cost is the number of terms. Here sums
//! within the product are merged with the one around it, so that all guards are seen together, and then one variable
//! after the other is summed out over the factors that mention it (variable elimination, as in tensor networks and
//! graphical models). What is left is a tree of partial sums; whoever evaluates it remembers their values by the
//! positions of the indices that they depend on. For a convolution the work falls from taps times taps times positions
//! to that of one convolution of a covariance.
//!
//! Which variable comes next is decided by an estimate of how many terms the partial sum has in all. Only the time
//! depends on it, never the value.

#[cfg(test)]
mod tests;

use netsor_ir::Index;
use netsor_ir::expr::{Expr, ExprId, Sum};
use netsor_ir::index::{Guard, Relation, Truth};
use netsor_num::normal::cdf;

use crate::closed_form::factors;
use crate::graph::Graph;

/// Indices are bits of a word.
type Set = u64;
/// The most indices of a sum with everything in it; larger ones are left as they are written.
const MAX_INDICES: usize = 64;
/// The size that free indices are taken to have in estimates.
const NOMINAL: u32 = 8;
/// A partial sum that is needed at fewer different positions than its parent has terms by this factor is remembered;
/// others become part of it.
const SHARED: f64 = 2.0;

/// A sum as a tree of partial sums.
///
/// The bound variables of all sums in it have *places*, as have those around it: place `p` is `Index::Bound(p)` in guards.
#[derive(Clone, Debug)]
pub struct Contraction {
    /// Partial sums, each after those that are factors of it; the last is the sum itself.
    pub partials: Vec<Partial>,
    /// The sign of the product.
    pub sign: f64,
    /// How many places there are.
    pub places: usize,
    /// The bound variables around the sum with their places.
    outer: Vec<(u32, usize)>,
}

/// A sum of products of expressions and other partial sums.
#[derive(Clone, Debug)]
pub struct Partial {
    /// The places that are summed over, and the sizes of their axes.
    pub variables: Vec<(usize, u32)>,
    /// Conditions on terms, over places and free variables.
    pub guards: Vec<Guard>,
    /// Expressions to multiply.
    pub factors: Vec<Factor>,
    /// Partial sums to multiply.
    pub partials: Vec<usize>,
    /// What the value depends on: places and free variables.
    pub free: Vec<Index>,
}

/// An expression whose bound variables stand for places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// The expression.
    pub expr: ExprId,
    bound: Vec<(u32, usize)>,
}

impl Factor {
    /// The positions of the bound variables by their numbers, from the positions by place.
    pub fn bound(&self, places: &[u32]) -> Vec<u32> {
        renumbered(&self.bound, places)
    }
}

fn renumbered(names: &[(u32, usize)], places: &[u32]) -> Vec<u32> {
    let len = names.iter().map(|&(number, _)| number as usize + 1).max().unwrap_or(0);
    let mut bound = vec![0; len];
    for &(number, place) in names {
        bound[number as usize] = places[place];
    }
    bound
}

impl Contraction {
    /// The sum `id` as partial sums; `None` if it is no product or too large, so that nothing is gained.
    ///
    /// Sums for which `whole` holds are factors as they are.
    pub fn new(graph: &Graph, id: ExprId, whole: &dyn Fn(&Sum) -> bool) -> Option<Self> {
        let Expr::Sum(sum) = graph.pool.node(id) else { return None };
        let mut product =
            Product { graph, whole, sizes: Vec::new(), guards: Vec::new(), factors: Vec::new(), sign: 1.0 };
        let mut outer = Vec::new();
        for index in graph.free_indices(id) {
            if let Index::Bound(number) = index {
                outer.push((number, product.sizes.len()));
                product.sizes.push(NOMINAL);
            }
        }
        let inner = product.open(sum, &outer);
        if inner == 0 && product.factors.len() < 2 {
            return None;
        }
        let places = product.sizes.len();
        let mut elimination = Elimination::new(product, outer.len())?;
        elimination.substitute();
        let sign = elimination.sign;
        Some(Self { partials: elimination.run(), sign, places, outer })
    }

    /// Positions by place, with those of the bound variables around the sum.
    pub fn start(&self, bound: &[u32]) -> Vec<u32> {
        let mut places = vec![0; self.places];
        for &(number, place) in &self.outer {
            places[place] = bound.get(number as usize).copied().unwrap_or(0);
        }
        places
    }
}

/// A product of factors under guards, with the sizes of its places.
struct Product<'a> {
    graph: &'a Graph,
    whole: &'a dyn Fn(&Sum) -> bool,
    sizes: Vec<u32>,
    guards: Vec<Guard>,
    factors: Vec<Factor>,
    sign: f64,
}

impl Product<'_> {
    /// Adds a sum, whose free bound variables have names; how many sums were merged with it.
    fn open(&mut self, sum: &Sum, names: &[(u32, usize)]) -> usize {
        let base = self.graph.pool.height(sum.body);
        let mut names = names.to_vec();
        for (k, &axis) in sum.axes.iter().enumerate() {
            names.push((base + k as u32, self.sizes.len()));
            self.sizes.push(self.graph.axis_size(axis));
        }
        let place = |index: Index| match index {
            Index::Bound(number) => {
                names.iter().rev().find(|n| n.0 == number).map_or(index, |n| Index::Bound(n.1 as u32))
            }
            _ => index,
        };
        self.guards.extend(sum.guards.iter().map(|g| g.map(place)));
        let (factors, sign) = factors(self.graph, sum.body);
        self.sign *= sign;
        let mut merged = 0;
        for factor in factors {
            match self.graph.pool.node(factor) {
                Expr::Sum(inner) if !(self.whole)(inner) && self.sizes.len() + inner.axes.len() <= MAX_INDICES => {
                    merged += 1 + self.open(inner, &names);
                }
                _ => {
                    let free = self.graph.free_indices(factor);
                    let of = |&index: &Index| match (index, place(index)) {
                        (Index::Bound(number), Index::Bound(place)) => Some((number, place as usize)),
                        _ => None,
                    };
                    self.factors.push(Factor { expr: factor, bound: free.iter().filter_map(of).collect() });
                }
            }
        }
        merged
    }
}

/// What a product is made of during elimination.
#[derive(Clone, Debug)]
enum Item {
    Factor(Factor),
    Partial(usize),
}

/// Elimination of one variable after the other.
struct Elimination {
    /// What the bits stand for, and the sizes; places come first.
    indices: Vec<Index>,
    sizes: Vec<u32>,
    /// Variables that are left.
    open: Set,
    guards: Vec<Condition>,
    items: Vec<(Item, Set)>,
    partials: Vec<Work>,
    sign: f64,
}

/// A guard with the indices that it mentions, and the logarithm of the share of assignments that satisfy it.
#[derive(Clone)]
struct Condition {
    guard: Guard,
    set: Set,
    share: f64,
}

/// A partial sum that may yet become part of another.
struct Work {
    variables: Set,
    guards: Vec<Condition>,
    items: Vec<(Item, Set)>,
    free: Set,
}

impl Elimination {
    fn new(product: Product<'_>, n_outer: usize) -> Option<Self> {
        let Product { graph, sizes, guards, factors, sign, .. } = product;
        let places = sizes.len();
        let mut indices: Vec<Index> = (0..places).map(|p| Index::Bound(p as u32)).collect();
        let mut sizes = sizes;
        let mut note = |index: Index| {
            if matches!(index, Index::Var(_)) && !indices.contains(&index) {
                indices.push(index);
                sizes.push(NOMINAL);
            }
        };
        let mut vars = Vec::new();
        for factor in &factors {
            let free: Vec<Index> = graph.free_indices(factor.expr);
            let own: Vec<Index> = free.into_iter().filter(|i| matches!(i, Index::Var(_))).collect();
            own.iter().for_each(|&i| note(i));
            vars.push(own);
        }
        guards.iter().flat_map(|g| g.terms()).for_each(|&(_, i)| note(i));
        if MAX_INDICES < indices.len() {
            return None;
        }
        let open = (n_outer..places).fold(0, |set: Set, p| set | 1 << p);
        let mut it = Self { indices, sizes, open, guards: Vec::new(), items: Vec::new(), partials: Vec::new(), sign };
        for (factor, vars) in factors.into_iter().zip(vars) {
            let set = factor.bound.iter().fold(it.set(&vars), |set, &(_, place)| set | 1 << place);
            it.items.push((Item::Factor(factor), set));
        }
        guards.into_iter().for_each(|g| it.require(g));
        Some(it)
    }

    fn set(&self, indices: &[Index]) -> Set {
        indices.iter().filter_map(|i| self.indices.iter().position(|j| j == i)).fold(0, |set, bit| set | 1 << bit)
    }

    /// Adds a guard, unless it is known or says nothing.
    fn require(&mut self, guard: Guard) {
        let known = self.guards.iter().any(|c| c.guard == guard);
        if guard.truth() != Truth::Always && !self.always(&guard) && !known {
            let set = guard.terms().iter().fold(0, |set, &(_, i)| set | self.set(&[i]));
            let share = self.share(&guard).ln();
            self.guards.push(Condition { guard, set, share });
        }
    }

    /// Whether an inequality between variables of the sum holds for all their values.
    fn always(&self, guard: &Guard) -> bool {
        let mut most = guard.constant();
        for &(c, index) in guard.terms() {
            let Some(size) = self.summed(index) else { return false };
            most = most.saturating_add(c.max(0).saturating_mul(i64::from(size) - 1));
        }
        guard.relation() == Relation::Le && most <= 0
    }

    /// The size of a variable of the sum.
    fn summed(&self, index: Index) -> Option<u32> {
        let bit = self.indices.iter().position(|&i| i == index)?;
        (self.open >> bit & 1 == 1).then_some(self.sizes[bit])
    }

    /// Solves for variables that occur in guards only, as those of the taps of a convolution.
    fn substitute(&mut self) {
        for bit in 0..self.indices.len() {
            let used = self.items.iter().any(|(_, set)| set >> bit & 1 == 1);
            if self.open >> bit & 1 == 0 || used {
                continue;
            }
            let index = self.indices[bit];
            let (own, others): (Vec<Condition>, _) =
                std::mem::take(&mut self.guards).into_iter().partition(|c| c.set >> bit & 1 == 1);
            self.guards = others;
            if own.iter().any(|c| solvable(&c.guard, index) && c.guard.relation() == Relation::Eq) {
                let implied = self.without(&own, index);
                self.open &= !(1 << bit);
                implied.into_iter().for_each(|g| self.require(g));
            } else {
                self.guards.extend(own);
            }
        }
    }

    /// What guards over a variable imply for the others. If one of them is an equation with coefficient 1 or -1, this is
    /// all that they say.
    fn without(&self, conditions: &[Condition], index: Index) -> Vec<Guard> {
        let guards: Vec<&Guard> = conditions.iter().map(|c| &c.guard).collect();
        let by = |equation: bool| {
            guards.iter().position(|g| solvable(g, index) && (g.relation() == Relation::Eq) == equation)
        };
        let Some(solved) = by(true).or_else(|| by(false)) else { return Vec::new() };
        let (relation, c) = (guards[solved].relation(), coefficient(guards[solved], index));
        let rest: Vec<(i64, Index)> = guards[solved].terms().iter().copied().filter(|t| t.1 != index).collect();
        let constant = guards[solved].constant();
        // c x + rest = 0 with c = 1 or -1, so that x = -c rest.
        let with = |relation: Relation, a: i64, others: &[(i64, Index)], more: i64| {
            let factor = (-c).saturating_mul(a);
            let solved = rest.iter().map(|&(b, i)| (factor.saturating_mul(b), i));
            Guard::new(
                relation,
                solved.chain(others.iter().copied()),
                factor.saturating_mul(constant).saturating_add(more),
            )
        };
        let mut implied = Vec::new();
        for (k, guard) in guards.iter().enumerate() {
            // A congruence says nothing of equations and inequalities.
            if k != solved && (relation == Relation::Eq || guard.relation() == relation) {
                let others: Vec<(i64, Index)> = guard.terms().iter().copied().filter(|t| t.1 != index).collect();
                implied.push(with(guard.relation(), coefficient(guard, index), &others, guard.constant()));
            }
        }
        if let (Relation::Eq, Some(size)) = (relation, self.summed(index)) {
            // 0 <= x and x <= size - 1
            implied.push(with(Relation::Le, -1, &[], 0));
            implied.push(with(Relation::Le, 1, &[], 1 - i64::from(size)));
        }
        implied
    }

    /// The logarithm of about how many values the indices of a set have.
    fn count(&self, set: Set) -> f64 {
        let sizes = self.sizes.iter().enumerate().filter(|&(bit, _)| set >> bit & 1 == 1);
        let all: f64 = sizes.map(|(_, &size)| f64::from(size.max(1)).ln()).sum();
        let within = self.guards.iter().filter(|c| c.set & !set == 0);
        all + within.map(|c| c.share).sum::<f64>()
    }

    /// The share of assignments that satisfy a guard, as if its form had a normal law.
    fn share(&self, guard: &Guard) -> f64 {
        let (mut mean, mut variance) = (guard.constant() as f64, 0.0);
        for &(c, index) in guard.terms() {
            let size = self.indices.iter().position(|&i| i == index).map_or(NOMINAL, |bit| self.sizes[bit]);
            let (c, size) = (c as f64, f64::from(size));
            mean += c * 0.5 * (size - 1.0);
            variance += c * c * (size * size - 1.0) / 12.0;
        }
        if variance == 0.0 {
            return 1.0;
        }
        let below = |x: f64| cdf((x - mean) / variance.sqrt());
        let share = match guard.relation() {
            Relation::Eq => below(0.5) - below(-0.5),
            Relation::Le => below(0.5),
            Relation::EqMod(modulus) => 1.0 / f64::from(modulus.max(1)),
        };
        share.max(1e-3)
    }

    /// Everything that is mentioned together with a variable.
    fn neighbours(&self, bit: usize) -> Set {
        let sets = self.items.iter().map(|&(_, set)| set).chain(self.guards.iter().map(|c| c.set));
        sets.filter(|set| set >> bit & 1 == 1).fold(1 << bit, |all, set| all | set)
    }

    fn run(mut self) -> Vec<Partial> {
        while self.open != 0 {
            let open = (0..self.indices.len()).filter(|bit| self.open >> bit & 1 == 1);
            let costs = open.map(|bit| (self.count(self.neighbours(bit)), bit));
            let next = costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, bit)| bit);
            let Some(bit) = next else { break };
            self.eliminate(bit);
        }
        let free = self.items.iter().fold(0, |all, (_, set)| all | set);
        let free = self.guards.iter().fold(free, |all, c| all | c.set);
        let (items, guards) = (std::mem::take(&mut self.items), std::mem::take(&mut self.guards));
        self.combine(0, guards, items, free);
        self.finish()
    }

    fn eliminate(&mut self, bit: usize) {
        let together = self.neighbours(bit);
        let has = |set: Set| set >> bit & 1 == 1;
        let (items, rest) = std::mem::take(&mut self.items).into_iter().partition(|&(_, set)| has(set));
        self.items = rest;
        let (own, others): (Vec<Condition>, _) = std::mem::take(&mut self.guards).into_iter().partition(|c| has(c.set));
        self.guards = others;
        let implied = self.without(&own, self.indices[bit]);
        let partial = self.combine(1 << bit, own, items, together);
        self.open &= !(1 << bit);
        let free = together & !(1 << bit);
        self.items.push((Item::Partial(partial), free));
        implied.into_iter().for_each(|g| self.require(g));
    }

    /// A new partial sum, with those among its items that are not worth remembering as part of it.
    fn combine(&mut self, variable: Set, guards: Vec<Condition>, items: Vec<(Item, Set)>, together: Set) -> usize {
        let others = self.guards.len();
        self.guards.extend(guards.iter().cloned());
        let terms = self.count(together);
        let mut work = Work { variables: variable, guards, items: Vec::new(), free: together & !variable };
        for (item, set) in items {
            match item {
                Item::Partial(k) if terms - self.count(set) < SHARED.ln() => {
                    let part = &mut self.partials[k];
                    work.variables |= part.variables;
                    work.guards.append(&mut part.guards);
                    work.items.append(&mut part.items);
                }
                _ => work.items.push((item, set)),
            }
        }
        self.guards.truncate(others);
        self.partials.push(work);
        self.partials.len() - 1
    }

    /// The partial sums that the last one needs, in order.
    fn finish(self) -> Vec<Partial> {
        let mut used = vec![false; self.partials.len()];
        if let Some(last) = used.last_mut() {
            *last = true;
        }
        for (k, work) in self.partials.iter().enumerate().rev() {
            for (item, _) in &work.items {
                if let (Item::Partial(child), true) = (item, used[k]) {
                    used[*child] = true;
                }
            }
        }
        let mut number = vec![0; self.partials.len()];
        let mut all = Vec::new();
        for (k, work) in self.partials.into_iter().enumerate().filter(|(k, _)| used[*k]) {
            number[k] = all.len();
            let bits = |set: Set| (0..self.indices.len()).filter(move |bit| set >> bit & 1 == 1);
            let (mut factors, mut partials) = (Vec::new(), Vec::new());
            for (item, _) in work.items {
                match item {
                    Item::Factor(factor) => factors.push(factor),
                    Item::Partial(child) => partials.push(number[child]),
                }
            }
            all.push(Partial {
                variables: bits(work.variables).map(|bit| (bit, self.sizes[bit])).collect(),
                guards: work.guards.into_iter().map(|c| c.guard).collect(),
                factors,
                partials,
                free: bits(work.free).map(|bit| self.indices[bit]).collect(),
            });
        }
        all
    }
}

fn coefficient(guard: &Guard, index: Index) -> i64 {
    guard.terms().iter().find(|t| t.1 == index).map_or(0, |t| t.0)
}

/// Whether the guard is an equation or a congruence that can be solved for the index.
fn solvable(guard: &Guard, index: Index) -> bool {
    guard.relation() != Relation::Le && coefficient(guard, index).abs() == 1
}
