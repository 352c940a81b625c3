//! `nth_slopes.json`: exponents in the width of the kernels of the hierarchy at initialisation, of the change of the
//! tangent kernel, and of the errors of truncations, with the intervals of few seeds.
//!
//! The draws of the file are not ours, so both sides have noise: the file's bootstrap intervals say how much a slope
//! over its seeds varies, and ours are taken over at least as many. Widths that would take long are left out: matrices
//! of the largest ones, where there is more than one hidden layer.

use std::collections::BTreeMap;

use netsor_finite::Inputs;
use netsor_nth::{HuangYau, KernelOptions, KernelTensor, Truncated, gradient_flow, hierarchy, kernels_at};
use netsor_num::ode::OdeOptions;
use serde_json::Value;

use super::json::{Array, count, counts, field, float, list, optional, text};
use super::nth::activation;
use super::{Case, Checks, Trouble};

/// The highest kernel that is compared.
const MAX_ORDER: usize = 4;
/// The largest widths of kernels at initialisation and of flows, with one hidden layer and with more, whose matrices
/// have the square of the width for entries.
const MAX_WIDTHS: [(usize, usize); 2] = [(4096, 2048), (1024, 512)];
/// Two 95 % intervals, of the file's slope and of ours, which is as wide: the half width of the file's times the root of
/// two holds in 95 of 100 comparisons. A file has a hundred or so, so twice that: 5.5 standard errors.
const INTERVALS: f64 = 2.0 * std::f64::consts::SQRT_2;
/// Seeds a width, at least, and at most where networks are small.
const SEEDS: (usize, usize) = (10, 40);
/// The width up to which there are more.
const SMALL: usize = 128;
/// Error of a step of the solvers: below the smallest error of a truncation here, which is about 1e-8.
const STEP: f64 = 1e-11;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    let mut cases = Vec::new();
    for case in list(file, "cases")? {
        let (name, case) = (text(case, "case")?.to_owned(), case.clone());
        cases.push(Case::new(name, move || check(&case)));
    }
    Ok(cases)
}

/// What is measured for one network: a list of positive numbers with a fixed meaning.
struct Measured {
    /// Where the file has each number.
    places: Vec<Vec<String>>,
    /// Widths and numbers.
    rows: Vec<(usize, Vec<f64>)>,
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let (hidden, train) = (count(case, "H")?, count(case, "n")?);
    let x = Array::field(case, "X", 2)?.finite("X")?;
    let (points, dim) = (x.shape[0], x.shape[1]);
    let paper = HuangYau {
        points: points as u32,
        dim: dim as u32,
        hidden: hidden as u32,
        activation: activation(text(case, "activation")?)?,
        sigma_w: float(case, "sigma_w")?,
        sigma_a: float(case, "sigma_a")?,
    };
    let y = Array::shaped(case, "y", &[train])?.finite("y")?.numbers;
    let times = Array::field(case, "times", 1)?.finite("times")?.numbers;
    let widths = counts(case, "widths")?;
    let slopes = field(case, "slopes")?;
    let mut checks = Checks::default();

    let network = paper.network().map_err(Trouble::failed)?;
    let input = network.program.find("x").ok_or_else(|| Trouble::failed("the network has no data"))?;
    let inputs = Inputs::new().with(input, x.numbers);
    let program = hierarchy(&network, MAX_ORDER).map_err(Trouble::failed)?;
    let second = hierarchy(&network, 2).map_err(Trouble::failed)?;
    // The first two times: later ones cost more and have the same exponents.
    let flow_times: Vec<f64> = times.iter().copied().take(2).collect();
    let (mut sizes, mut flows) = (Measured::new(), Measured::new());
    let (max_kernel, max_flow) = MAX_WIDTHS[usize::from(1 < hidden)];
    for &m in widths.iter().filter(|&&m| m <= max_kernel) {
        for seed in 0..(SEEDS.1 * SMALL / m.max(1)).clamp(SEEDS.0, SEEDS.1) as u64 {
            let options = KernelOptions::new(m, seed).with_train(train);
            let start = kernels_at(&program, &inputs, &options).map_err(Trouble::failed)?;
            let mut row = Vec::new();
            for r in 2..=MAX_ORDER {
                let kernel = start.of_order(r).map_err(Trouble::failed)?;
                for (which, size) in [("K_init_max", kernel.norm_max()), ("K_init_rms", kernel.norm_rms())] {
                    row.push((vec![which.to_owned(), format!("K{r}")], size));
                }
            }
            sizes.push(m, row);
            if max_flow < m {
                continue;
            }
            let ode = OdeOptions::with_tolerance(STEP);
            let path = gradient_flow(&network, &inputs, &y, &flow_times, &options, &ode).map_err(Trouble::failed)?;
            let mut row = Vec::new();
            let mut kernels = Vec::new();
            for (k, inputs) in path.inputs.iter().enumerate() {
                let now = kernels_at(&second, inputs, &options).map_err(Trouble::failed)?.kernels.swap_remove(0);
                let place = vec!["dK2".to_owned(), key(flow_times[k])];
                row.push((place, distance(&now, &start.kernels[0], train)));
                kernels.push(now);
            }
            for p in 2..=MAX_ORDER {
                let system = Truncated::new(&start, &y, p).map_err(Trouble::failed)?;
                let found = system.solve(&flow_times, &ode).map_err(Trouble::failed)?;
                for (k, &t) in flow_times.iter().enumerate() {
                    let place = |what: &str| vec!["trunc".to_owned(), format!("p{p}"), what.to_owned(), key(t)];
                    let errors = path.f[k].iter().zip(&found.f[k]).take(train).map(|(a, b)| (a - b).abs());
                    row.push((place("f_train"), errors.fold(0.0, f64::max)));
                    row.push((place("K2"), distance(&found.kernels[k][0], &kernels[k], train)));
                }
            }
            flows.push(m, row);
        }
    }
    sizes.compare(slopes, &mut checks)?;
    flows.compare(slopes, &mut checks)?;
    Ok(checks)
}

/// A time as the file writes it.
fn key(time: f64) -> String {
    format!("{time:?}")
}

/// The largest distance over training points.
fn distance(a: &KernelTensor, b: &KernelTensor, train: usize) -> f64 {
    let pairs = (0..train).flat_map(|i| (0..=i).map(move |j| [i, j]));
    pairs.map(|at| (a.get(&at) - b.get(&at)).abs()).fold(0.0, f64::max)
}

impl Measured {
    fn new() -> Self {
        Self { places: Vec::new(), rows: Vec::new() }
    }

    fn push(&mut self, m: usize, row: Vec<(Vec<String>, f64)>) {
        if self.places.is_empty() {
            self.places = row.iter().map(|(place, _)| place.clone()).collect();
        }
        self.rows.push((m, row.into_iter().map(|(_, size)| size).collect()));
    }

    /// The slopes of logarithms in the logarithm of the width against those of the file.
    fn compare(&self, slopes: &Value, checks: &mut Checks) -> Result<(), Trouble> {
        for (k, place) in self.places.iter().enumerate() {
            let mut found = Some(slopes);
            for name in place {
                found = found.and_then(|value| optional(value, name));
            }
            let Some(found) = found else { continue };
            let interval = Array::read(found).filter(|a| a.shape == [3]);
            let interval = interval.ok_or_else(|| Trouble::not_covered(format!("`{place:?}` is no interval")))?.numbers;
            let tolerance = INTERVALS * (interval[2] - interval[1]) / 2.0;
            checks.close(|| format!("slope of {}", place.join(" ")), self.slope(k), interval[0], tolerance);
        }
        Ok(())
    }

    /// The slope of the geometric means over seeds, every width with the same weight.
    fn slope(&self, k: usize) -> f64 {
        let mut of_width: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (m, row) in &self.rows {
            of_width.entry(*m).or_default().push(row[k].ln());
        }
        let mean = |logs: &Vec<f64>| logs.iter().sum::<f64>() / logs.len() as f64;
        let points: Vec<(f64, f64)> = of_width.iter().map(|(m, logs)| ((*m as f64).ln(), mean(logs))).collect();
        let n = points.len() as f64;
        let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
        let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), (x, y)| {
            (above + (x - mean_x) * (y - mean_y), below + (x - mean_x).powi(2))
        });
        above / below
    }
}
