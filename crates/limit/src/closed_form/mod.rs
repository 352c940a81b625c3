//! Recognising integrands that have closed forms.
//!
//! A factor of an integrand that mentions one Gaussian variable is read as a member of one of the families of
//! [`netsor_gauss::dual`], and an integrand that is a product of such functions of at most two variables is handed over
//! to the closed forms there. Kernels over data sets use the same reader ([`read`]). This only makes evaluation faster and
//! exact: the general way, quadrature of the compiled expression, gives the same numbers, and tests compare the two.
//!
//! Nothing is read whose coefficients leave the range of floating-point numbers: there the parts of a closed form would
//! be zeros and infinities although the whole is neither.

mod reader;
mod sides;
#[cfg(test)]
mod tests;

use netsor_gauss::dual::Activation;
use netsor_ir::expr::{Expr, ExprId};

use crate::graph::{Graph, Leaf};
use reader::Reader;

/// What the leaves of an integrand are, as functions of one variable `u`; `None` for what must not occur.
#[derive(Clone, Copy)]
pub struct Leaves<'a> {
    /// Slot `k` is `multiple(k) u`.
    pub multiple: &'a dyn Fn(usize) -> Option<f64>,
    /// Parameter `k` is the number `parameter(k)`.
    pub parameter: &'a dyn Fn(usize) -> Option<f64>,
}

/// A function of one variable that has closed forms.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// A member of a family, with duals.
    Single(Activation),
    /// A product of two members that is none itself, as `erf(u)^2`: its mean is their dual at correlation 1.
    Product(Activation, Activation),
}

/// The product of `factors` as a function of one variable; `None` if it is not seen to have a closed form.
///
/// ```
/// use netsor_ir::Program;
/// use netsor_ir::expr::Expr;
/// use netsor_ir::func::Func;
/// use netsor_limit::closed_form::{Function, Leaves, read};
/// use netsor_limit::{Deriver, Graph};
///
/// let mut graph = Deriver::new(&Program::new("p")).into_graph();
/// let slot = graph.pool.intern(Expr::Ref(Graph::slot_symbol(0), Default::default()));
/// let relu = graph.pool.intern(Expr::Apply(Func::Relu, vec![slot].into()));
/// // relu(-2 u) is 2 |u| on the left.
/// let leaves = Leaves { multiple: &|_| Some(-2.0), parameter: &|_| None };
/// let Some(Function::Single(f)) = read(&graph, &[relu], leaves) else { panic!("relu is homogeneous") };
/// assert_eq!([-1.0, 0.0, 1.0].map(|u| f.eval(u)), [2.0, 0.0, 0.0]);
/// ```
pub fn read(graph: &Graph, factors: &[ExprId], leaves: Leaves<'_>) -> Option<Function> {
    let reader = Reader { graph, leaves };
    if let Some(single) = reader.activation(factors) {
        return Some(Function::Single(single));
    }
    // Each factor joins the first group with which it is a member of a family.
    let mut groups: Vec<(Vec<ExprId>, Activation)> = Vec::new();
    for &factor in factors {
        let joined = groups.iter_mut().any(|(group, activation)| {
            group.push(factor);
            match reader.activation(group) {
                Some(product) => *activation = product,
                None => {
                    group.pop();
                    return false;
                }
            }
            true
        });
        if !joined {
            groups.push((vec![factor], reader.activation(&[factor])?));
        }
    }
    match <[_; 2]>::try_from(groups) {
        Ok([(_, f), (_, g)]) => Some(Function::Product(f, g)),
        Err(_) => None,
    }
}

/// The product of functions of one slot, if it is a member of a family.
pub(crate) fn activation(graph: &Graph, factors: &[ExprId], parameters: &[f64]) -> Option<Activation> {
    let leaves = Leaves { multiple: &|_| Some(1.0), parameter: &|k| parameters.get(k).copied() };
    Reader { graph, leaves }.activation(factors)
}

/// The integrand as a product of activations of slots.
pub(crate) struct Separated {
    /// The constant in front.
    pub(crate) factor: f64,
    /// Slots with their activations, at most two; both may be functions of the same slot.
    pub(crate) slots: Vec<(usize, Activation)>,
}

/// Splits the integrand into activations of single slots, if it is such a product with at most two slots.
pub(crate) fn separate(graph: &Graph, integrand: ExprId, parameters: &[f64]) -> Option<Separated> {
    let leaves = Leaves { multiple: &|_| Some(1.0), parameter: &|k| parameters.get(k).copied() };
    let (factors, mut factor) = factors(graph, integrand);
    let mut by_slot: Vec<(usize, Vec<ExprId>)> = Vec::new();
    for f in factors {
        match slots_of(graph, f)[..] {
            [] => factor = sides::product(factor, Reader { graph, leaves }.number(f)?)?,
            [slot] => match by_slot.iter_mut().find(|(s, _)| *s == slot) {
                Some((_, own)) => own.push(f),
                None => by_slot.push((slot, vec![f])),
            },
            _ => return None,
        }
    }
    let mut slots = Vec::new();
    for (slot, own) in by_slot {
        match read(graph, &own, leaves)? {
            Function::Single(f) => slots.push((slot, f)),
            Function::Product(f, g) => slots.extend([(slot, f), (slot, g)]),
        }
    }
    (slots.len() <= 2).then_some(Separated { factor, slots })
}

/// The factors of a product, and its sign.
pub fn factors(graph: &Graph, id: ExprId) -> (Vec<ExprId>, f64) {
    let (mut factors, mut sign) = (Vec::new(), 1.0);
    flatten(graph, id, &mut factors, &mut sign);
    (factors, sign)
}

/// Appends the factors of a product, and turns its sign.
pub(crate) fn flatten(graph: &Graph, id: ExprId, factors: &mut Vec<ExprId>, sign: &mut f64) {
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        match *graph.pool.node(id) {
            Expr::Mul(a, b) => stack.extend([b, a]),
            Expr::Neg(a) => {
                *sign = -*sign;
                stack.push(a);
            }
            _ => factors.push(id),
        }
    }
}

/// The slots that an expression mentions, sorted.
pub fn slots_of(graph: &Graph, id: ExprId) -> Vec<usize> {
    leaves_of(graph, id, |leaf| match leaf {
        Leaf::Slot(k) => Some(k),
        _ => None,
    })
}

/// The parameters that an expression mentions, sorted.
pub fn parameters_of(graph: &Graph, id: ExprId) -> Vec<usize> {
    leaves_of(graph, id, |leaf| match leaf {
        Leaf::Parameter(k) => Some(k),
        _ => None,
    })
}

fn leaves_of(graph: &Graph, id: ExprId, select: impl Fn(Leaf) -> Option<usize>) -> Vec<usize> {
    let mut found = Vec::new();
    graph.pool.visit(id, &mut |node| {
        if let Expr::Ref(symbol, _) = node {
            found.extend(select(graph.leaf(*symbol)));
        }
    });
    found.sort_unstable();
    found.dedup();
    found
}
