//! One operation on a strip of entries.

use netsor_gauss::dual::Dual;
use netsor_gauss::{Estimate, GaussError, Tolerance};
use netsor_limit::closed_form::Function;
use rustc_hash::FxHashMap;

use crate::duals;
use crate::error::KernelError;
use crate::function::{General, Shape, SlotFunction};
use crate::grid::{GRID, Grid, GridScratch};
use crate::plan::Op;
use crate::series::{Coefficients, series};

/// The tolerance of series of functions with closed forms, which replace these where they are quicker: what two closed
/// forms behind each other may leave of sixteen digits.
pub(crate) const CLOSED: f64 = 1e-11;
/// Memoised integrals are forgotten beyond this many.
const MAX_MEMO: usize = 1 << 18;

/// An operand: the same number for the whole strip, or one an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Val<'a> {
    Scalar(f64),
    Slice(&'a [f64]),
}

impl Val<'_> {
    fn at(&self, j: usize) -> f64 {
        match self {
            Self::Scalar(x) => *x,
            Self::Slice(s) => s[j],
        }
    }
}

/// What every strip has in common.
pub(crate) struct Context<'a> {
    pub(crate) functions: &'a [SlotFunction],
    pub(crate) integrands: &'a [General],
    pub(crate) grid: &'a Grid,
    /// Of series and one-dimensional rules.
    pub(crate) tolerance: f64,
    /// Of the general integrator.
    pub(crate) integrals: Tolerance,
}

/// Memory for [`execute`], and what it counted.
#[derive(Default)]
pub(crate) struct Scratch {
    columns: [Vec<f64>; 4],
    left: Vec<usize>,
    grid: GridScratch,
    memo: FxHashMap<(u32, u32, Vec<u64>), Estimate>,
    pub(crate) integrals: usize,
    pub(crate) not_met: usize,
}

/// An expectation that failed, and where in the strip.
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) source: GaussError,
}

impl Scratch {
    /// An integral, unless it is known already.
    fn integral(
        &mut self,
        key: (u32, u32, Vec<u64>),
        tolerance: &Tolerance,
        at: usize,
        compute: impl FnOnce() -> Result<Estimate, GaussError>,
    ) -> Result<f64, Fault> {
        if let Some(known) = self.memo.get(&key) {
            return Ok(known.value);
        }
        let estimate = compute().map_err(|source| Fault { at, source })?;
        self.integrals += 1;
        self.not_met += usize::from(!estimate.met(tolerance));
        if MAX_MEMO <= self.memo.len() {
            self.memo.clear();
        }
        self.memo.insert(key, estimate);
        Ok(estimate.value)
    }
}

/// The largest number of series terms is bounded, so an operation's tables come with it.
pub(crate) type Tables<'a> = Option<[Coefficients<'a>; 2]>;

/// Fills `out` with the results of `op`; `vals` are its operands in order. `Gram` and `Load` are not operations here:
/// their numbers are there from the beginning.
pub(crate) fn execute(
    op: &Op,
    vals: &[Val<'_>],
    tables: Tables<'_>,
    context: &Context<'_>,
    scratch: &mut Scratch,
    out: &mut [f64],
) -> Result<(), Fault> {
    let n = out.len();
    match op {
        Op::Gram(..) | Op::Load(..) => {}
        Op::Linear { terms, constant } => {
            out.fill(constant.0);
            for ((c, _), val) in terms.iter().zip(vals) {
                let c = c.0;
                match val {
                    Val::Scalar(x) => out.iter_mut().for_each(|o| *o += c * x),
                    Val::Slice(s) => duals::vectorised(|| out.iter_mut().zip(*s).for_each(|(o, x)| *o += c * x)),
                }
            }
        }
        Op::Product(..) => match (vals[0], vals[1]) {
            (Val::Scalar(a), Val::Scalar(b)) => out.fill(a * b),
            (Val::Scalar(a), Val::Slice(s)) | (Val::Slice(s), Val::Scalar(a)) => {
                duals::vectorised(|| out.iter_mut().zip(s).for_each(|(o, x)| *o = a * x));
            }
            (Val::Slice(s), Val::Slice(t)) => {
                duals::vectorised(|| out.iter_mut().zip(s).zip(t).for_each(|((o, x), y)| *o = x * y));
            }
        },
        Op::Div(..) => {
            for (j, o) in out.iter_mut().enumerate() {
                *o = vals[0].at(j) / vals[1].at(j);
            }
        }
        Op::Power(_, p) => {
            for (j, o) in out.iter_mut().enumerate() {
                *o = power(vals[0].at(j), p.0);
            }
        }
        Op::Quotient { power: p, .. } => {
            for (j, o) in out.iter_mut().enumerate() {
                *o = quotient(vals[0].at(j), vals[1].at(j), vals[2].at(j), p.0);
            }
        }
        Op::Apply(func, _) => apply(func.name(), vals, out),
        Op::Inverse(_) => {
            for (j, o) in out.iter_mut().enumerate() {
                let x = vals[0].at(j);
                *o = if x == 0.0 { 0.0 } else { 1.0 / x };
            }
        }
        Op::Correlation { .. } => {
            let [cov, u, v, _] = columns(vals, n, &mut scratch.columns);
            duals::correlation(cov, u, v, out);
            // As in `netsor_gauss`: larger by more than rounding is a mistake of whoever made the covariance.
            if let Some(at) = out.iter().position(|r| 1.0 + 1e-8 < r.abs()) {
                let source = GaussError::Correlation {
                    row: 0,
                    column: 1,
                    covariance: cov[at],
                    row_variance: (u[at] * u[at]).recip(),
                    column_variance: (v[at] * v[at]).recip(),
                };
                return Err(Fault { at, source });
            }
            duals::clamp(out);
        }
        Op::Angle(_) => {
            let [rho, ..] = columns(vals, n, &mut scratch.columns);
            duals::angle(rho, out);
        }
        Op::Rectified { u, v, .. } => {
            let [rho, angle, sd_u, sd_v] = columns(vals, n, &mut scratch.columns);
            if u.degree == 0 {
                duals::degree_zero([angle, sd_u, sd_v], *u, *v, out);
            } else {
                duals::degree_one([rho, angle, sd_u, sd_v], *u, *v, out);
            }
        }
        Op::RectifiedMixed { u, v, .. } => {
            let [rho, sd_u, sd_v, _] = columns(vals, n, &mut scratch.columns);
            duals::degree_mixed([rho, sd_u, sd_v], *u, *v, out);
        }
        Op::Arcsine { a, b, .. } => {
            let [cov, uu, vv, _] = columns(vals, n, &mut scratch.columns);
            duals::arcsine([cov, uu, vv], a.0, b.0, out);
        }
        Op::Gaussians { a, b, .. } => {
            let [cov, uu, vv, _] = columns(vals, n, &mut scratch.columns);
            duals::gaussians([cov, uu, vv], a.0, b.0, out);
        }
        Op::Mean { f, .. } => {
            for (j, o) in out.iter_mut().enumerate() {
                *o = mean(*f, vals[0].at(j), context, scratch).map_err(|source| Fault { at: j, source })?;
            }
        }
        Op::Series { f, g, .. } => {
            let mut left = std::mem::take(&mut scratch.left);
            let of = |id: &u32| &context.functions[*id as usize];
            let dual = of(f).closed(of(g));
            match tables {
                Some([a, b]) => {
                    let [rho, ..] = columns(&vals[..1], n, &mut scratch.columns);
                    let tolerance = if dual.is_some() { context.tolerance.min(CLOSED) } else { context.tolerance };
                    series(a, b, rho, tolerance, out, &mut left);
                    // Equal inputs keep correlation 1 in the layers behind: there the error is that of rounding. A jump of
                    // a later function would make the square root of the series' error out of it.
                    left.retain(|&j| rho[j].abs() != 1.0);
                    left.extend((0..n).filter(|&j| rho[j].abs() == 1.0));
                }
                None => {
                    left.clear();
                    left.extend(0..n);
                }
            }
            for &j in &left {
                let [rho, uu, cov, vv] = [0, 1, 2, 3].map(|k: usize| vals[k].at(j));
                if let Some(dual) = &dual {
                    out[j] = dual.at(uu, cov, vv).map_err(|source| Fault { at: j, source })?.value;
                    continue;
                }
                let pair = [of(f), of(g)];
                let sizes = [uu.sqrt(), vv.sqrt()];
                let quick = context.grid.dual(pair, sizes, rho, 0.1 * context.tolerance, &mut scratch.grid);
                out[j] = match quick {
                    Some(value) => value,
                    None => {
                        let key = (*f, *g, [uu, cov, vv].iter().map(|x| x.to_bits()).collect());
                        let compute = || of(f).dual(of(g), [uu, cov, vv], &context.integrals);
                        scratch.integral(key, &context.integrals, j, compute)?
                    }
                };
            }
            scratch.left = left;
        }
        Op::Closed { f, g, .. } => {
            let of = |id: &u32| &context.functions[*id as usize];
            let dual = of(f).closed(of(g));
            for (at, o) in out.iter_mut().enumerate() {
                let closed = dual.as_ref().map(|d| d.at(vals[0].at(at), vals[1].at(at), vals[2].at(at)));
                let estimate = closed.unwrap_or(Err(GaussError::Overflow));
                *o = estimate.map_err(|source| Fault { at, source })?.value;
            }
        }
        Op::General { integrand, .. } => {
            for (j, o) in out.iter_mut().enumerate() {
                let args: Vec<f64> = vals.iter().map(|v| v.at(j)).collect();
                let key = (*integrand, u32::MAX, args.iter().map(|x| x.to_bits()).collect());
                *o = scratch.integral(key, &context.integrals, j, || {
                    context.integrands[*integrand as usize].expect(&args, &context.integrals)
                })?;
            }
        }
    }
    Ok(())
}

/// The value of an operation whose operands are all numbers.
pub(crate) fn fold(op: &Op, functions: &[SlotFunction], integrands: &[General]) -> Result<f64, KernelError> {
    let mut vals = Vec::new();
    op.for_each_arg(|arg| {
        if let crate::plan::Arg::Const(c) = arg {
            vals.push(Val::Scalar(c.0));
        }
    });
    let context = Context { functions, integrands, grid: &GRID, tolerance: 1e-13, integrals: Tolerance::default() };
    let mut out = [0.0];
    let result = execute(op, &vals, None, &context, &mut Scratch::default(), &mut out);
    result.map_err(|fault| KernelError::Constant(fault.source))?;
    Ok(out[0])
}

/// `E f(u)` for one variance.
fn mean(f: u32, variance: f64, context: &Context<'_>, scratch: &mut Scratch) -> Result<f64, GaussError> {
    let function = &context.functions[f as usize];
    match &function.shape {
        Shape::Closed(Function::Single(f)) => return netsor_gauss::dual::mean(f, variance).map(|e| e.value),
        Shape::Closed(Function::Product(f, g)) => {
            if let Some(dual) = Dual::new(f, g) {
                return dual.at(variance, variance, variance).map(|e| e.value);
            }
        }
        _ => {}
    }
    // Ten times finer than what is asked of kernels: every later layer depends on it.
    if let Some(value) = context.grid.mean(function, variance.sqrt(), 0.1 * context.tolerance, &mut scratch.grid) {
        return Ok(value);
    }
    let key = (f, f, vec![variance.to_bits()]);
    let compute = || function.mean(variance, &context.integrals);
    scratch.integral(key, &context.integrals, 0, compute).map_err(|fault| fault.source)
}

fn apply(name: &str, vals: &[Val<'_>], out: &mut [f64]) {
    match vals {
        [x] => {
            let f = netsor_num::functions::unary::<f64>(name);
            out.iter_mut().enumerate().for_each(|(j, o)| *o = f.map_or(f64::NAN, |f| f(x.at(j))));
        }
        [x, y] => {
            let f = netsor_num::functions::binary::<f64>(name);
            out.iter_mut().enumerate().for_each(|(j, o)| *o = f.map_or(f64::NAN, |f| f(x.at(j), y.at(j))));
        }
        _ => out.fill(f64::NAN),
    }
}

fn power(x: f64, p: f64) -> f64 {
    if p == 0.5 {
        x.sqrt()
    } else if p == -0.5 {
        1.0 / x.sqrt()
    } else if p.fract() == 0.0 && p.abs() <= 64.0 {
        x.powi(p as i32)
    } else {
        netsor_num::Real::powf(x, p)
    }
}

/// [`netsor_limit::graph::Body::Quotient`], decided as its evaluator does.
fn quotient(numerator: f64, denominator: f64, size: f64, p: f64) -> f64 {
    let nothing = denominator <= netsor_limit::eval::ROUNDING * size;
    if nothing && (size != 0.0 || numerator == 0.0) { 0.0 } else { numerator * power(denominator, -p) }
}

/// The operands as slices; numbers are repeated.
fn columns<'a>(vals: &[Val<'a>], n: usize, buffers: &'a mut [Vec<f64>; 4]) -> [&'a [f64]; 4] {
    let mut it = vals.iter();
    buffers.each_mut().map(|buffer| match it.next() {
        Some(Val::Slice(s)) => *s,
        Some(Val::Scalar(x)) => {
            buffer.clear();
            buffer.resize(n, *x);
            &buffer[..]
        }
        None => &[][..],
    })
}

#[cfg(test)]
mod tests {
    use netsor_ir::syntax::parse_network;
    use netsor_ir::transform::kernels;
    use netsor_limit::Deriver;

    use crate::{Inputs, Options, Query, lower};

    /// Two inputs that are the same have the kernel of one, also where a jump in the derivative of the last activation turns
    /// an error of 1e-12 in the correlation before it into one of 1e-6.
    #[test]
    fn repeated_inputs_before_a_jump() {
        for (first, second) in [("sigmoid(h[i] + 1)", "relu(k[i])"), ("silu(h[i])", "relu(abs(k[i]) - 1)")] {
            let text = format!(
                "network q {{\n  axis i = 2\n  data xi[i] : 2\n  param U : n x 2 ~ N(0, 1)\n  param W : n x n ~ N(0, 1/n)\n  \
                 param v : n x 1 ~ N(0, 1/n)\n  h[i] = U * xi[i]\n  z[i] = {first}\n  k[i] = W * z[i]\n  x[i] = {second}\n  \
                 output f[i] = v' * x[i]\n}}\n"
            );
            let kernels = kernels(&parse_network(&text).unwrap()).unwrap();
            let mut deriver = Deriver::new(&kernels.program);
            let ntk = deriver.scalar(kernels.outputs[0].ntk).unwrap();
            let plan =
                lower(&deriver.into_graph(), &kernels.program, &[Query::component("ntk", ntk, 1, &[], &[])]).unwrap();
            let xi = kernels.program.find("xi").unwrap();
            let inputs = Inputs::new(2).with(xi, &[0.345, 0.82, 0.345, 0.82]);
            let matrices = plan.run(&inputs, None, &Options::default()).unwrap();
            let ntk = matrices.get("ntk").unwrap();
            assert!((ntk[1] - ntk[0]).abs() <= 1e-7 * ntk[0] && ntk[0] == ntk[3], "{first} {second}: {ntk:?}");
        }
    }

    /// `E log(1 + u^2) log(1 + v^2)` where `v` has the deviation 158 beside the bottom of its logarithm, of width 1. The
    /// number is that of Gauss' rule on pieces that shrink towards zero, in two variables.
    #[test]
    fn the_bottom_of_a_wide_logarithm() {
        let text = "network q {\n  axis i = 2\n  data xi[i] : 2\n  param U : n x 2 ~ N(0, 1)\n  param v : n x 1 ~ N(0, 1/n)\n  \
                    h[i] = U * xi[i]\n  x[i] = log(1 + h[i]^2)\n  output f[i] = v' * x[i]\n}\n";
        let kernels = kernels(&parse_network(text).unwrap()).unwrap();
        let mut deriver = Deriver::new(&kernels.program);
        let nngp = deriver.scalar(kernels.outputs[0].nngp.unwrap()).unwrap();
        let plan =
            lower(&deriver.into_graph(), &kernels.program, &[Query::component("nngp", nngp, 1, &[], &[])]).unwrap();
        let xi = kernels.program.find("xi").unwrap();
        let (uu, uv, vv): (f64, f64, f64) = (0.351_062_961_659_24, 46.594_729_040_493_74, 24_973.158_934_575_57);
        let inputs = [uu.sqrt(), 0.0, uv / uu.sqrt(), (vv - uv * uv / uu).sqrt()];
        let matrices = plan.run(&Inputs::new(2).with(xi, &inputs), None, &Options::default()).unwrap();
        let found = matrices.get("nngp").unwrap()[1];
        assert!((found - 2.349_335_288_989_009).abs() <= 1e-9, "{found}");
    }
}
