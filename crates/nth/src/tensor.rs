//! A kernel on all tuples of points, its symmetric parts stored once.

/// `K^(r)` on test and training points: the first two arguments run over all points, the others over the training
/// points. Symmetric in the first two arguments, and stored once for both orders; kernels with frozen directions are
/// symmetric in the others, too, and stored once for all of their orders.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTensor {
    points: usize,
    train: usize,
    order: usize,
    later: Later,
    data: Vec<f64>,
}

/// What the arguments of a kernel after the first two are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// Every tuple has an entry of its own.
    Ordered,
    /// The order of the arguments does not matter: an entry for every multiset.
    Symmetric,
}

impl KernelTensor {
    /// From numbers in the order of [`KernelTensor::packed`], of the same shape as `self`.
    pub(crate) fn with_data(&self, data: Vec<f64>) -> Self {
        debug_assert_eq!(data.len(), self.data.len());
        Self { data, ..*self }
    }

    /// From all entries `full[a, b, c, ..]`, each index over all `points`, the last fastest.
    ///
    /// The lower triangle is kept: exact arithmetic has both equal, the rounding of the two differs.
    pub(crate) fn from_full(full: &[f64], points: usize, train: usize, order: usize, later: Later) -> Self {
        let block = points.pow(order as u32 - 2);
        let places: Vec<usize> =
            later.tuples(train, order - 2).iter().map(|t| t.iter().fold(0, |at, c| at * points + c)).collect();
        let mut data = Vec::with_capacity(points * (points + 1) / 2 * places.len());
        for b in 0..points {
            for a in 0..=b {
                let start = (b * points + a) * block;
                data.extend(places.iter().map(|place| full[start + place]));
            }
        }
        Self { points, train, order, later, data }
    }

    /// From numbers in the order of [`KernelTensor::packed`].
    pub(crate) fn from_packed(points: usize, train: usize, order: usize, data: Vec<f64>) -> Self {
        debug_assert_eq!(data.len(), points * (points + 1) / 2 * train.pow(order as u32 - 2));
        Self { points, train, order, later: Later::Ordered, data }
    }

    /// The order `r`.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Test and training points.
    pub fn n_points(&self) -> usize {
        self.points
    }

    /// Training points, which come first.
    pub fn n_train(&self) -> usize {
        self.train
    }

    /// What the arguments after the first two are.
    pub fn later(&self) -> Later {
        self.later
    }

    /// Numbers for one pair of first arguments.
    pub fn block_len(&self) -> usize {
        self.later.len(self.train, self.order - 2)
    }

    /// All stored numbers: pairs `(a, b)` with `a <= b` in the order (0,0), (0,1), (1,1), (0,2), ..., and for each the
    /// later arguments: tuples with the last fastest, or multisets in the order of the pairs.
    pub fn packed(&self) -> &[f64] {
        &self.data
    }

    /// The entries `K(a, b, ..)` for all later arguments.
    ///
    /// # Panics
    /// If `a` or `b` is no point.
    pub fn block(&self, a: usize, b: usize) -> &[f64] {
        let len = self.block_len();
        let pair = pair(a, b);
        &self.data[pair * len..(pair + 1) * len]
    }

    /// One entry.
    ///
    /// # Panics
    /// If the number of arguments is not the order, or one is out of range.
    pub fn get(&self, arguments: &[usize]) -> f64 {
        assert_eq!(arguments.len(), self.order, "a kernel of order r has r arguments");
        assert!(arguments[2..].iter().all(|&c| c < self.train), "later arguments are training points");
        self.block(arguments[0], arguments[1])[self.later.place(self.train, &arguments[2..])]
    }

    /// All entries `K(a, b, c, ..)`, symmetric ones as often as they occur: the first two arguments over all points, later
    /// ones over the training points, the last fastest.
    pub fn dense(&self) -> Vec<f64> {
        let tuples = Later::Ordered.tuples(self.train, self.order - 2);
        let places: Vec<usize> = tuples.iter().map(|t| self.later.place(self.train, t)).collect();
        let pairs = (0..self.points).flat_map(|a| (0..self.points).map(move |b| (a, b)));
        pairs.flat_map(|(a, b)| places.iter().map(move |&place| self.block(a, b)[place])).collect()
    }

    /// The largest absolute value.
    pub fn norm_max(&self) -> f64 {
        self.data.iter().fold(0.0, |m, x| m.max(x.abs()))
    }

    /// The mean over all index tuples.
    pub fn mean(&self) -> f64 {
        self.mean_of(|x| x)
    }

    /// The root mean square over all index tuples.
    pub fn norm_rms(&self) -> f64 {
        self.mean_of(|x| x * x).sqrt()
    }

    /// The mean of `f` over all index tuples: an entry counts as often as it has orders.
    fn mean_of(&self, f: impl Fn(f64) -> f64) -> f64 {
        let later = self.order - 2;
        let weights = match self.later {
            Later::Ordered => vec![1.0; self.block_len()],
            Later::Symmetric => self.later.tuples(self.train, later).iter().map(|t| self.later.orders(t)).collect(),
        };
        let mut sum = 0.0;
        for b in 0..self.points {
            for a in 0..=b {
                let weight = if a == b { 1.0 } else { 2.0 };
                let block = self.block(a, b).iter().zip(&weights);
                sum += weight * block.map(|(&x, weight)| weight * f(x)).sum::<f64>();
            }
        }
        sum / (self.points * self.points) as f64 / (self.train as f64).powi(later as i32)
    }

    /// `sum over c_1, .., c_k of K(a, b, c_1, .., c_k) w_c1 .. w_ck` for every stored pair of first arguments.
    pub(crate) fn contracted(&self, weights: &[f64]) -> Vec<f64> {
        let tuples = self.later.tuples(self.train, self.order - 2);
        let weight = |t: &Vec<usize>| self.later.orders(t) * t.iter().map(|&c| weights[c]).product::<f64>();
        let weights: Vec<f64> = tuples.iter().map(weight).collect();
        let rows = self.data.chunks_exact(weights.len().max(1));
        rows.map(|row| row.iter().zip(&weights).map(|(x, w)| x * w).sum()).collect()
    }
}

impl Later {
    /// How many entries there are for `k` arguments out of `n`.
    fn len(self, n: usize, k: usize) -> usize {
        match self {
            Self::Ordered => n.pow(k as u32),
            Self::Symmetric => multisets(n, k),
        }
    }

    /// The arguments of every entry, in order; of a multiset in ascending order.
    pub(crate) fn tuples(self, n: usize, k: usize) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new()];
        for _ in 0..k {
            // Longer tuples end with the slowest argument of a multiset, and with the fastest of a tuple.
            all = match self {
                Self::Ordered => all.iter().flat_map(|t| (0..n).map(|c| [&t[..], &[c]].concat())).collect(),
                Self::Symmetric => {
                    let up_to = |c: usize| all.iter().filter(move |t| t.last().is_none_or(|&last| last <= c));
                    (0..n).flat_map(|c| up_to(c).map(move |t| [&t[..], &[c]].concat())).collect()
                }
            };
        }
        all
    }

    /// The number of an entry.
    fn place(self, n: usize, arguments: &[usize]) -> usize {
        match self {
            Self::Ordered => arguments.iter().fold(0, |at, &c| at * n + c),
            Self::Symmetric => {
                let mut sorted = arguments.to_vec();
                sorted.sort_unstable();
                // Multisets of k numbers below c come before those whose largest is c.
                sorted.iter().enumerate().map(|(k, &c)| multisets(c, k + 1)).sum()
            }
        }
    }

    /// How many orders of the arguments share an entry.
    fn orders(self, arguments: &[usize]) -> f64 {
        match self {
            Self::Ordered => 1.0,
            Self::Symmetric => {
                // k! over the factorials of the multiplicities: for the j-th of equal arguments a factor j below.
                let (mut orders, mut run) = (1.0, 0);
                for (k, c) in arguments.iter().enumerate() {
                    run = if k != 0 && arguments[k - 1] == *c { run + 1 } else { 1 };
                    orders *= (k + 1) as f64 / f64::from(run);
                }
                orders
            }
        }
    }
}

/// The number of multisets of `k` out of `n`: `n (n + 1) .. (n + k - 1) / k!`.
fn multisets(n: usize, k: usize) -> usize {
    (0..k).fold(1, |count, j| count * (n + j) / (j + 1))
}

/// The pairs `(a, b)` with `a <= b` in the order of packed storage.
pub(crate) fn pairs(points: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..points).flat_map(|b| (0..=b).map(move |a| (a, b)))
}

/// The position of the pair `{a, b}` in packed storage.
pub(crate) fn pair(a: usize, b: usize) -> usize {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    high * (high + 1) / 2 + low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A symmetric function of later arguments, stored both ways.
    #[test]
    fn both_ways_of_storage_are_one_tensor() {
        for (points, train, order) in [(3, 2, 2), (3, 3, 3), (3, 2, 4), (4, 3, 5), (2, 2, 6), (3, 1, 4)] {
            let entry = |arguments: &[usize]| {
                let pair = (arguments[0] + 1) * (arguments[1] + 1);
                (pair + arguments[2..].iter().map(|c| (c + 2).pow(3)).product::<usize>()) as f64
            };
            let all = Later::Ordered.tuples(points, order);
            let full: Vec<f64> = all.iter().map(|t| entry(t)).collect();
            let [ordered, symmetric] = [Later::Ordered, Later::Symmetric]
                .map(|later| KernelTensor::from_full(&full, points, train, order, later));
            let tuples = Later::Ordered.tuples(train, order - 2);
            let packed = pairs(points).flat_map(|(a, b)| tuples.iter().map(move |t| [&[a, b], &t[..]].concat()));
            let packed = packed.map(|t| entry(&t)).collect();
            assert_eq!(KernelTensor::from_packed(points, train, order, packed), ordered);
            assert_eq!(ordered.dense(), symmetric.dense());
            assert_eq!(symmetric.block_len(), Later::Symmetric.tuples(train, order - 2).len());
            for t in all.iter().filter(|t| t[2..].iter().all(|&c| c < train)) {
                assert_eq!((ordered.get(t), symmetric.get(t)), (entry(t), entry(t)));
            }
            // Sums of a few hundred numbers.
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-13 * a.abs();
            assert!(close(ordered.mean(), symmetric.mean()) && close(ordered.norm_rms(), symmetric.norm_rms()));
            assert_eq!(ordered.norm_max(), symmetric.norm_max());
            let weights = [0.3, -1.7, 0.9];
            let sums = ordered.contracted(&weights[..train]).into_iter().zip(symmetric.contracted(&weights[..train]));
            sums.for_each(|(a, b)| assert!((a - b).abs() <= 1e-12 * symmetric.norm_max(), "{a} {b}"));
        }
    }

    #[test]
    fn symmetric_arguments_are_stored_once() {
        let full = vec![0.0; 5usize.pow(5)];
        let tensor = KernelTensor::from_full(&full, 5, 4, 5, Later::Symmetric);
        // 15 pairs of five points, 20 multisets of three out of four.
        assert_eq!(tensor.packed().len(), 15 * 20);
        assert_eq!(KernelTensor::from_full(&full, 5, 4, 5, Later::Ordered).packed().len(), 15 * 64);
    }
}
