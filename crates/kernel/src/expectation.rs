//! Lowering one Gaussian expectation.

use netsor_gauss::dual::Activation;
use netsor_ir::ExprId;
use netsor_limit::closed_form::{factors, parameters_of, slots_of};

use crate::error::KernelError;
use crate::function::FunctionKey;
use crate::lower::{Lowering, Value};
use crate::plan::{Arg, Op, Real};

/// Two covariances that agree up to this much, relatively, are equal: they are products of a few rounded constants.
const ROUNDING: f64 = 1e-13;

/// The covariance of the slots.
pub(crate) struct Covariance {
    lower: Vec<Value>,
    slots: usize,
}

/// Slots that are multiples of one Gaussian variable.
struct Group {
    /// The slot that stands for it.
    slot: usize,
    /// The members with their multiples.
    members: Vec<(usize, f64)>,
}

impl Covariance {
    pub(crate) fn new(lower: Vec<Value>) -> Self {
        let slots = (0..).take_while(|k| k * (k + 1) / 2 < lower.len()).count();
        Self { lower, slots }
    }

    fn entry(&self, i: usize, j: usize) -> &Value {
        &self.lower[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)]
    }

    /// `c` if `Z_slot = c Z_of` whatever the data, seen from the form of the covariance.
    fn multiple(&self, slot: usize, of: usize) -> Option<f64> {
        let base = self.entry(of, of);
        let own = self.entry(slot, slot).ratio(base, ROUNDING)?;
        let cross = self.entry(slot, of).ratio(base, ROUNDING)?;
        ((cross * cross - own).abs() <= ROUNDING * own.abs()).then_some(cross)
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for slot in 0..self.slots {
            let home = groups.iter().position(|g| self.multiple(slot, g.slot).is_some());
            match home {
                Some(home) => {
                    // The variable itself rather than a multiple of it stands for the group.
                    let plain = |s: usize| self.entry(s, s).as_multiple().is_some_and(|(c, _)| c == 1.0);
                    let group = &mut groups[home];
                    group.members.push((slot, 1.0));
                    if plain(slot) && !plain(group.slot) {
                        group.slot = slot;
                    }
                }
                None => groups.push(Group { slot, members: vec![(slot, 1.0)] }),
            }
        }
        for group in &mut groups {
            for (slot, c) in &mut group.members {
                *c = self.multiple(*slot, group.slot).unwrap_or(1.0);
            }
        }
        groups
    }
}

impl Lowering<'_> {
    /// `E integrand`, in the quickest way that is known for it.
    pub(crate) fn expectation(
        &mut self,
        integrand: ExprId,
        covariance: &Covariance,
        parameters: &[Value],
    ) -> Result<Value, KernelError> {
        match self.separated(integrand, covariance, parameters)? {
            Some(value) => Ok(value),
            None => self.general(integrand, covariance, parameters),
        }
    }

    fn general(
        &mut self,
        integrand: ExprId,
        covariance: &Covariance,
        parameters: &[Value],
    ) -> Result<Value, KernelError> {
        let integrand = self.integrand(integrand, covariance.slots)?;
        let args = covariance.lower.iter().chain(parameters).map(|v| self.arg(v.clone())).collect::<Result<_, _>>()?;
        Ok(Value::of(self.op(Op::General { integrand, args })?))
    }

    /// The expectation of a product of functions of at most two Gaussian variables.
    fn separated(
        &mut self,
        integrand: ExprId,
        covariance: &Covariance,
        parameters: &[Value],
    ) -> Result<Option<Value>, KernelError> {
        let groups = covariance.groups();
        let group_of = |slot: usize| groups.iter().position(|g| g.members.iter().any(|&(s, _)| s == slot));
        let (factors, sign) = factors(self.graph, integrand);
        let mut factors_of: Vec<Vec<ExprId>> = vec![Vec::new(); groups.len()];
        let mut constants = Vec::new();
        for factor in factors {
            let mut own: Vec<usize> = slots_of(self.graph, factor).into_iter().filter_map(group_of).collect();
            own.dedup();
            match own[..] {
                [] => constants.push(factor),
                [group] => factors_of[group].push(factor),
                _ => return Ok(None),
            }
        }
        let mut used = Vec::new();
        for (group, own) in groups.iter().zip(factors_of).filter(|(_, own)| !own.is_empty()) {
            let Some(f) = self.slot_function(&own, &group.members, parameters)? else { return Ok(None) };
            used.push((group.slot, f));
        }
        let mut factor = sign;
        if !constants.is_empty() {
            // Factors without slots, evaluated as a function that ignores its argument.
            let Some(f) = self.slot_function(&constants, &[], parameters)? else { return Ok(None) };
            let Some(c) = self.op(Op::Mean { f, variance: Arg::Const(Real(0.0)) }).map(constant)? else {
                return Ok(None);
            };
            factor *= c;
        }
        let value = match used[..] {
            [] => Value::constant(1.0),
            [(s, f)] => self.mean(f, covariance.entry(s, s))?,
            [(s, f), (t, g)] if covariance.entry(s, t).as_constant() == Some(0.0) => {
                let (u, v) = (self.mean(f, covariance.entry(s, s))?, self.mean(g, covariance.entry(t, t))?);
                self.multiply(u, v)?
            }
            [(s, f), (t, g)] => {
                let entries = [covariance.entry(s, s), covariance.entry(s, t), covariance.entry(t, t)];
                let [uu, cov, vv] = entries.map(Value::clone);
                let dual = [self.arg(uu)?, self.arg(cov)?, self.arg(vv)?];
                match self.dual(f, g, dual)? {
                    Some(value) => value,
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(value.scaled(factor)))
    }

    /// The product of the factors as a function of one variable; `None` if it has parameters that are not constants.
    fn slot_function(
        &mut self,
        factors: &[ExprId],
        members: &[(usize, f64)],
        parameters: &[Value],
    ) -> Result<Option<u32>, KernelError> {
        let factors = factors.to_vec();
        let all = |of: fn(&netsor_limit::Graph, ExprId) -> Vec<usize>| {
            let mut all: Vec<usize> = factors.iter().flat_map(|&f| of(self.graph, f)).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let slots = all(slots_of);
        let multiples = members.iter().filter(|(s, _)| slots.contains(s)).map(|&(s, c)| (s, Real(c))).collect();
        let known = all(parameters_of)
            .into_iter()
            .map(|k| parameters.get(k).and_then(Value::as_constant).map(|c| (k, Real(c))))
            .collect::<Option<Vec<_>>>();
        match known {
            Some(parameters) => self.function(&FunctionKey { factors, multiples, parameters }).map(Some),
            None => Ok(None),
        }
    }

    fn mean(&mut self, f: u32, variance: &Value) -> Result<Value, KernelError> {
        let variance = self.arg(variance.clone())?;
        Ok(Value::of(self.op(Op::Mean { f, variance })?))
    }

    fn dual(&mut self, f: u32, g: u32, [uu, cov, vv]: [Arg; 3]) -> Result<Option<Value>, KernelError> {
        let shape = |id: u32| self.functions[id as usize].shape.clone();
        let (left, right) = (shape(f), shape(g));
        if let (Some(u), Some(v)) = (left.homogeneous(), right.homogeneous()) {
            if u.degree == 1 && v.degree == 1 && u.left == u.right && v.left == v.right {
                return Ok(Some(Value::of(cov).scaled(u.left.0 * v.left.0)));
            }
            let (sd_u, sd_v, rho) = self.correlation(uu, cov, vv)?;
            let op = match (u.degree, v.degree) {
                (0, 0) | (1, 1) => {
                    let angle = self.op(Op::Angle(rho))?;
                    Op::Rectified { rho, angle, sd_u, sd_v, u, v }
                }
                (1, _) => Op::RectifiedMixed { rho, sd_u, sd_v, u, v },
                _ => Op::RectifiedMixed { rho, sd_u: sd_v, sd_v: sd_u, u: v, v: u },
            };
            return Ok(Some(Value::of(self.op(op)?)));
        }
        if let (Some(u), Some(v)) = (left.activation(), right.activation()) {
            if let (Some(odd), Some(other)) = (u.is_odd(), v.is_odd())
                && odd != other
            {
                return Ok(Some(Value::constant(0.0)));
            }
            let (u, v) = (bell(u), bell(v));
            if let (Some((c, Bell::Erf(a))), Some((d, Bell::Erf(b)))) = (u, v) {
                let op = Op::Arcsine { cov, uu, vv, a: Real(a), b: Real(b) };
                return Ok(Some(Value::of(self.op(op)?).scaled(c * d)));
            }
            if let (Some((c, Bell::Gauss(a))), Some((d, Bell::Gauss(b)))) = (u, v) {
                let op = Op::Gaussians { cov, uu, vv, a: Real(a), b: Real(b) };
                return Ok(Some(Value::of(self.op(op)?).scaled(c * d)));
            }
        }
        let closed = self.functions[f as usize].closed(&self.functions[g as usize]).is_some();
        let ones = matches!((uu, vv), (Arg::One(..), Arg::One(..)));
        // A series of smooth functions is vectorised; a closed form then serves where it converges slowly.
        let smooth = left.is_smooth() && right.is_smooth();
        let op = if closed && !(smooth && ones) {
            Op::Closed { f, g, uu, cov, vv }
        } else {
            if !ones {
                return Ok(None);
            }
            let (_, _, rho) = self.correlation(uu, cov, vv)?;
            Op::Series { f, g, rho, uu, cov, vv }
        };
        Ok(Some(Value::of(self.op(op)?)))
    }

    /// Standard deviations and correlation.
    fn correlation(&mut self, uu: Arg, cov: Arg, vv: Arg) -> Result<(Arg, Arg, Arg), KernelError> {
        let sd_u = self.op(Op::Power(uu, Real(0.5)))?;
        let sd_v = self.op(Op::Power(vv, Real(0.5)))?;
        let (inv_u, inv_v) = (self.op(Op::Inverse(sd_u))?, self.op(Op::Inverse(sd_v))?);
        let rho = self.op(Op::Correlation { cov, inv_u, inv_v })?;
        Ok((sd_u, sd_v, rho))
    }
}

fn constant(arg: Arg) -> Option<f64> {
    match arg {
        Arg::Const(c) => Some(c.0),
        _ => None,
    }
}

/// One error function or one Gaussian, which have vectorised forms.
#[derive(Clone, Copy)]
enum Bell {
    /// `erf(rate u)`
    Erf(f64),
    /// `exp(-rate u^2)`
    Gauss(f64),
}

/// The function as a multiple of one error function or Gaussian.
fn bell(f: &Activation) -> Option<(f64, Bell)> {
    let Activation::Erf(sum) = f else { return None };
    let [term] = sum.terms() else { return None };
    match term.erf {
        _ if term.power != 0 => None,
        Some(rate) if term.gauss == 0.0 && rate.is_finite() => Some((term.coefficient, Bell::Erf(rate))),
        None if term.gauss < 0.0 => Some((term.coefficient, Bell::Gauss(-term.gauss))),
        _ => None,
    }
}
