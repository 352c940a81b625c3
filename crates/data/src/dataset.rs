//! Data sets: inputs, targets, classes, splits.

use netsor_num::streams::Streams;
use rand::Rng;

use crate::{DataError, Matrix};

/// Inputs with targets, and with classes when the problem is a classification.
///
/// `inputs` is `n x d`, `targets` is `n x k`. A classification starts with one-hot targets
/// (see [`Dataset::encoded`] for others); its labels index into the class names.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    name: String,
    inputs: Matrix,
    targets: Matrix,
    labels: Option<Labels>,
    image_shape: Option<ImageShape>,
}

/// The class of every row, and what the classes are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    classes: Vec<usize>,
    names: Vec<String>,
}

/// How classes become target vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 1 at the class, 0 elsewhere.
    OneHot,
    /// 1 - 1/k at the class, -1/k elsewhere: rows sum to zero, so that a kernel without a bias need not learn the mean.
    Centred,
    /// One column, +1 for the second class and -1 for the first; two classes only.
    PlusMinus,
}

/// The axes behind one flattened input row, channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Values in a pixel.
    pub channels: usize,
}

/// A data set in two parts without common rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// What a model may see.
    pub train: Dataset,
    /// What it is judged by.
    pub test: Dataset,
}

impl Labels {
    /// `classes[i] < names.len()` for every row.
    ///
    /// # Errors
    /// [`DataError::Format`] naming the first row whose class has no name.
    pub fn new(name: &str, classes: Vec<usize>, names: Vec<String>) -> Result<Self, DataError> {
        if let Some(row) = classes.iter().position(|&class| names.len() <= class) {
            let problem = format!("row {row}: class {} of {} classes", classes[row], names.len());
            return Err(DataError::Format { name: name.to_owned(), problem });
        }
        Ok(Self { classes, names })
    }

    /// The class of each row.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// The names of the classes, in the order of the columns of a one-hot target.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Dataset {
    /// A regression problem. Rows of `inputs` and `targets` correspond.
    ///
    /// # Errors
    /// [`DataError::Empty`] without rows, [`DataError::Shape`] when the numbers of rows differ.
    pub fn regression(name: &str, inputs: Matrix, targets: Matrix) -> Result<Self, DataError> {
        check_rows(name, "rows of targets", &inputs, targets.n_rows())?;
        Ok(Self { name: name.to_owned(), inputs, targets, labels: None, image_shape: None })
    }

    /// A classification problem with one-hot targets.
    ///
    /// # Errors
    /// [`DataError::Empty`] without rows, [`DataError::Shape`] when there is not one label a row.
    pub fn classification(name: &str, inputs: Matrix, labels: Labels) -> Result<Self, DataError> {
        check_rows(name, "labels", &inputs, labels.classes.len())?;
        let targets = encode(name, &labels, Encoding::OneHot)?;
        Ok(Self { name: name.to_owned(), inputs, targets, labels: Some(labels), image_shape: None })
    }

    /// Says that each input row is an image, `[height, width, channels]` flattened.
    ///
    /// # Errors
    /// [`DataError::Shape`] when the number of features is not their product.
    pub fn with_image_shape(mut self, shape: ImageShape) -> Result<Self, DataError> {
        let sizes = [shape.height, shape.width, shape.channels];
        let expected = sizes.iter().try_fold(1_usize, |acc, &size| acc.checked_mul(size));
        if expected != Some(self.n_features()) {
            return Err(DataError::Shape {
                name: self.name,
                what: "features of an image",
                expected: expected.unwrap_or(usize::MAX),
                found: self.inputs.n_cols(),
            });
        }
        self.image_shape = Some(shape);
        Ok(self)
    }

    /// The same points with the classes encoded in another way.
    ///
    /// # Errors
    /// [`DataError::NoClasses`] on a regression problem;
    /// [`DataError::Shape`] for [`Encoding::PlusMinus`] with other than two classes.
    pub fn encoded(mut self, encoding: Encoding) -> Result<Self, DataError> {
        let labels = self.labels.as_ref().ok_or_else(|| DataError::NoClasses { name: self.name.clone() })?;
        self.targets = encode(&self.name, labels, encoding)?;
        Ok(self)
    }

    /// The same targets with other inputs, one row a point: the result of a transform.
    /// An image shape stays when the number of features does.
    ///
    /// # Errors
    /// [`DataError::Shape`] when the number of rows differs.
    pub fn with_inputs(mut self, inputs: Matrix) -> Result<Self, DataError> {
        check_rows(&self.name, "rows of inputs", &self.targets, inputs.n_rows())?;
        if inputs.n_cols() != self.inputs.n_cols() {
            self.image_shape = None;
        }
        self.inputs = inputs;
        Ok(self)
    }

    /// The name that errors and reports use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of points `n`.
    pub fn n_points(&self) -> usize {
        self.inputs.n_rows()
    }

    /// The number of features `d`.
    pub fn n_features(&self) -> usize {
        self.inputs.n_cols()
    }

    /// The number of target columns `k`.
    pub fn n_outputs(&self) -> usize {
        self.targets.n_cols()
    }

    /// The inputs, `n x d`.
    pub fn inputs(&self) -> &Matrix {
        &self.inputs
    }

    /// The targets, `n x k`.
    pub fn targets(&self) -> &Matrix {
        &self.targets
    }

    /// The classes of a classification problem.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The class of each row.
    ///
    /// # Errors
    /// [`DataError::NoClasses`] on a regression problem.
    pub fn classes(&self) -> Result<&[usize], DataError> {
        match &self.labels {
            Some(labels) => Ok(&labels.classes),
            None => Err(DataError::NoClasses { name: self.name.clone() }),
        }
    }

    /// The shape of an input row, if it is an image.
    pub fn image_shape(&self) -> Option<ImageShape> {
        self.image_shape
    }

    /// The inputs as images: the shape `[N, H, W, C]` and the entries in that order.
    pub fn images(&self) -> Option<([usize; 4], &[f64])> {
        let ImageShape { height, width, channels } = self.image_shape?;
        Some(([self.n_points(), height, width, channels], self.inputs.as_slice()))
    }

    /// The chosen points in the given order; repetitions are allowed.
    ///
    /// # Errors
    /// [`DataError::Empty`] for no points, [`DataError::Shape`] for a point that does not exist.
    pub fn select(&self, points: &[usize]) -> Result<Self, DataError> {
        if points.is_empty() {
            return Err(DataError::Empty { name: format!("{} (an empty selection)", self.name) });
        }
        if let Some(&point) = points.iter().find(|&&point| self.n_points() <= point) {
            return Err(DataError::Shape {
                name: self.name.clone(),
                what: "a point below",
                expected: self.n_points(),
                found: point,
            });
        }
        Ok(Self {
            name: self.name.clone(),
            inputs: self.inputs.select_rows(points),
            targets: self.targets.select_rows(points),
            labels: self.labels.as_ref().map(|labels| Labels {
                classes: points.iter().map(|&point| labels.classes[point]).collect(),
                names: labels.names.clone(),
            }),
            image_shape: self.image_shape,
        })
    }

    /// The points of the given classes only; their classes are renumbered in the given order.
    ///
    /// # Errors
    /// [`DataError::NoClasses`], [`DataError::Shape`] for an unknown class, [`DataError::Empty`] if no point is left.
    pub fn select_classes(&self, classes: &[usize]) -> Result<Self, DataError> {
        let labels = self.labels.as_ref().ok_or_else(|| DataError::NoClasses { name: self.name.clone() })?;
        if let Some(&class) = classes.iter().find(|&&class| labels.names.len() <= class) {
            return Err(DataError::Shape {
                name: self.name.clone(),
                what: "a class below",
                expected: labels.names.len(),
                found: class,
            });
        }
        let (points, renumbered): (Vec<_>, Vec<_>) = (labels.classes.iter().enumerate())
            .filter_map(|(point, class)| Some((point, classes.iter().position(|it| it == class)?)))
            .unzip();
        let names = classes.iter().map(|&class| labels.names[class].clone()).collect();
        let labels = Labels::new(&self.name, renumbered, names)?;
        let chosen = Self::classification(&self.name, self.inputs.select_rows(&points), labels)?;
        match self.image_shape {
            Some(shape) => chosen.with_image_shape(shape),
            None => Ok(chosen),
        }
    }

    /// A random split into `n_train` points and the rest, each part in random order.
    /// One seed gives the same split anywhere.
    ///
    /// # Errors
    /// [`DataError::Split`] unless `0 < n_train < n`, so that neither part is empty.
    pub fn split(&self, n_train: usize, seed: u64) -> Result<Split, DataError> {
        if n_train == 0 || self.n_points() <= n_train {
            return Err(DataError::Split { name: self.name.clone(), n_points: self.n_points(), n_train });
        }
        let order = permutation(self.n_points(), seed);
        Ok(Split { train: self.select(&order[..n_train])?, test: self.select(&order[n_train..])? })
    }
}

/// A uniformly random order of `0..n`, a function of the seed alone
/// (Fisher and Yates, from the last place down, on the stream `data/permutation`).
pub fn permutation(n: usize, seed: u64) -> Vec<usize> {
    let mut rng = Streams::new(seed).stream("data/permutation", 0);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, below(&mut rng, last as u64 + 1) as usize);
    }
    order
}

/// A uniform integer below `n` without bias (Lemire's multiplication with rejection).
fn below(rng: &mut impl Rng, n: u64) -> u64 {
    let rejected = n.wrapping_neg() % n;
    loop {
        let wide = u128::from(rng.next_u64()) * u128::from(n);
        if rejected <= wide as u64 {
            return (wide >> 64) as u64;
        }
    }
}

fn check_rows(name: &str, what: &'static str, rows: &Matrix, found: usize) -> Result<(), DataError> {
    if rows.n_rows() == 0 || rows.n_cols() == 0 {
        return Err(DataError::Empty { name: name.to_owned() });
    }
    if rows.n_rows() != found {
        return Err(DataError::Shape { name: name.to_owned(), what, expected: rows.n_rows(), found });
    }
    Ok(())
}

fn encode(name: &str, labels: &Labels, encoding: Encoding) -> Result<Matrix, DataError> {
    let n = labels.classes.len();
    let k = labels.names.len();
    let (off, n_cols) = match encoding {
        Encoding::OneHot => (0.0, k),
        Encoding::Centred => (-1.0 / k as f64, k),
        Encoding::PlusMinus if k == 2 => (-1.0, 1),
        Encoding::PlusMinus => {
            return Err(DataError::Shape {
                name: name.to_owned(),
                what: "classes for the encoding +1/-1",
                expected: 2,
                found: k,
            });
        }
    };
    let mut entries = vec![off; n * n_cols];
    for (row, &class) in labels.classes.iter().enumerate() {
        match encoding {
            Encoding::OneHot | Encoding::Centred => entries[row * k + class] += 1.0,
            Encoding::PlusMinus => entries[row] = if class == 1 { 1.0 } else { -1.0 },
        }
    }
    Matrix::new(name, entries, n, n_cols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy() -> Dataset {
        let inputs = Matrix::new("toy", (0..12).map(f64::from).collect(), 6, 2).unwrap();
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let labels = Labels::new("toy", vec![0, 1, 2, 2, 1, 0], names).unwrap();
        Dataset::classification("toy", inputs, labels).unwrap()
    }

    #[test]
    fn encodings() {
        assert_eq!(toy().targets().row(2), [0.0, 0.0, 1.0]);
        let centred = toy().encoded(Encoding::Centred).unwrap();
        for row in centred.targets().rows() {
            // Three roundings of numbers below one.
            assert!(row.iter().sum::<f64>().abs() <= 3.0 * f64::EPSILON);
        }
        assert!(toy().encoded(Encoding::PlusMinus).is_err());
        let two = toy().select_classes(&[2, 0]).unwrap();
        let two = two.encoded(Encoding::PlusMinus).unwrap();
        assert_eq!(two.targets().as_slice(), [1.0, -1.0, -1.0, 1.0]);
        assert_eq!(two.labels().unwrap().names(), ["c", "a"]);
    }

    #[test]
    fn a_split_is_a_partition_and_a_function_of_the_seed() {
        let split = toy().split(4, 7).unwrap();
        let mut seen: Vec<f64> =
            [&split.train, &split.test].into_iter().flat_map(|part| part.inputs().rows().map(|row| row[0])).collect();
        seen.sort_by(f64::total_cmp);
        assert_eq!(seen, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(split, toy().split(4, 7).unwrap());
        assert_ne!(permutation(100, 7), permutation(100, 8));
        for n_train in [0, 6, 7] {
            assert!(toy().split(n_train, 7).is_err());
        }
    }

    #[test]
    fn permutations_are_uniform() {
        // 6000 seeds over the 6 orders of three: each count is binomial(6000, 1/6),
        // mean 1000, standard deviation 28.9; 5 deviations, six counts, failure odds below 4e-6 for a fair generator.
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            *counts.entry(permutation(3, seed)).or_insert(0_i32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (count - 1000).abs() < 145), "{counts:?}");
    }

    #[test]
    fn sizes_must_fit() {
        assert_eq!(toy().select(&[0, 6]).unwrap_err().to_string(), "toy: a point below: expected 6, found 6");
        assert!(toy().select(&[]).is_err());
        let image = |height, width| ImageShape { height, width, channels: 1 };
        assert!(toy().with_image_shape(image(3, 1)).is_err());
        assert!(toy().with_image_shape(image(usize::MAX, 2)).is_err());
        let images = toy().with_image_shape(image(2, 1)).unwrap();
        assert_eq!(images.images().unwrap().0, [6, 2, 1, 1]);
        assert!(Labels::new("toy", vec![3], vec!["a".into()]).is_err());
    }
}
