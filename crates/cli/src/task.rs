//! Data sets, architectures and what brings them together.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use netsor_data::{Column, CsvOptions, Dataset, Encoding, Scaling, Split, Target};
use netsor_ir::verify::{Verified, verify_network};
use netsor_ir::{Axis, Dim, Id, Kind, Network, Program, ValueId};
use netsor_zoo::{Activation, Conv1d, Mlp, Tied};

use crate::source;
use crate::values::data_of;

/// A data set.
#[derive(Args)]
pub(crate) struct DatasetArgs {
    /// A shipped data set (digits, breast_cancer, wine, iris, diabetes) or a CSV file; its fields are separated by
    /// commas, semicolons or tabs
    #[arg(long = "on", value_name = "DATA", default_value = "digits")]
    on: String,
    /// Folder of the shipped data sets
    #[arg(long, value_name = "DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Column of a CSV file that is to be predicted, by name or counted from 0; the last one by default
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// Columns of a CSV file that are left out, by name or counted from 0, separated by commas
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    drop: Vec<String>,
    /// The target of a CSV file is a number, not a class
    #[arg(long)]
    regression: bool,
    /// How inputs are scaled; the scale is taken from the training points
    #[arg(long, default_value = "sphere")]
    scale: Scale,
    /// Seed of the split into training and test points, where there is one
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    split_seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scale {
    /// As they are
    None,
    /// Each feature with mean 0 and variance 1
    Standard,
    /// The range to [0, 1] for images, features standard otherwise; then every point on the sphere |x|^2 = d
    Sphere,
}

impl DatasetArgs {
    /// The data set as it is on disk; classes are encoded with mean 0.
    pub(crate) fn load(&self) -> anyhow::Result<Dataset> {
        let dataset = if netsor_data::shipped_names().any(|name| name == self.on) {
            netsor_data::load_shipped(&self.data_dir, &self.on)?
        } else {
            let path = Path::new(&self.on);
            if !path.exists() {
                let names: Vec<&str> = netsor_data::shipped_names().collect();
                bail!("--on {}: neither a file nor one of {}", self.on, names.join(", "));
            }
            if path.is_dir() {
                bail!("--on {}: a folder, expected a CSV file", self.on);
            }
            let named = |text: &String| text.parse().map_or_else(|_| Column::Name(text.clone()), Column::Index);
            let column = self.target.as_ref().map_or(Column::Last, named);
            let drop = self.drop.iter().map(named).collect();
            let target = if self.regression { Target::Values(vec![column]) } else { Target::Class(column) };
            let dataset = netsor_data::load_csv(path, &CsvOptions { target, drop, ..CsvOptions::default() })?;
            refuse_numbers_as_classes(&dataset)?;
            dataset
        };
        Ok(if dataset.labels().is_some() { dataset.encoded(Encoding::Centred)? } else { dataset })
    }

    /// Training and test points, scaled; by default four fifths of the points and the rest.
    pub(crate) fn split(&self, n_train: Option<usize>, n_test: Option<usize>) -> anyhow::Result<Split> {
        let all = self.load()?;
        let n = all.n_points();
        let n_train = n_train.unwrap_or_else(|| match n_test {
            Some(n_test) => n.saturating_sub(n_test),
            None => n * 4 / 5,
        });
        let split = all.split(n_train, self.split_seed)?;
        let n_test = n_test.unwrap_or(split.test.n_points());
        if split.test.n_points() < n_test || n_test == 0 {
            bail!("{n_train} training and {n_test} test points: {} has {n} points", self.on);
        }
        let test = split.test.select(&(0..n_test).collect::<Vec<_>>())?;
        let (train, test) =
            if split.train.labels().is_some() { (split.train, test) } else { standard(&split.train, &test)? };
        let scaling = self.scaling(&train);
        Ok(Split { test: self.scaled(test, scaling.as_ref())?, train: self.scaled(train, scaling.as_ref())? })
    }

    /// The first points in the order of the file, or all of them, scaled among themselves; targets are left alone.
    pub(crate) fn first(&self, n_points: Option<usize>) -> anyhow::Result<Dataset> {
        let all = self.load()?;
        let n = n_points.unwrap_or(all.n_points());
        if n == 0 || all.n_points() < n {
            bail!("{n} points: {} has 1 to {}", self.on, all.n_points());
        }
        let points = all.select(&(0..n).collect::<Vec<_>>())?;
        let scaling = self.scaling(&points);
        self.scaled(points, scaling.as_ref())
    }

    /// What takes the inputs of these points to their range or to mean 0 and variance 1; nothing with `--scale none`.
    fn scaling(&self, points: &Dataset) -> Option<Scaling> {
        match self.scale {
            Scale::None => None,
            Scale::Sphere if points.image_shape().is_some() => Some(Scaling::unit_range(points.inputs())),
            Scale::Standard | Scale::Sphere => Some(Scaling::standard(points.inputs())),
        }
    }

    fn scaled(&self, points: Dataset, scaling: Option<&Scaling>) -> anyhow::Result<Dataset> {
        let Some(scaling) = scaling else { return Ok(points) };
        let points = points.scaled(scaling)?;
        Ok(if let Scale::Sphere = self.scale { points.on_sphere()? } else { points })
    }
}

/// Refuses classes that look like measurements: fractions, or numbers of which most occur once.
fn refuse_numbers_as_classes(dataset: &Dataset) -> anyhow::Result<()> {
    let Some(labels) = dataset.labels() else { return Ok(()) };
    let Some(numbers) = labels.names().iter().map(|name| name.parse().ok()).collect::<Option<Vec<f64>>>() else {
        return Ok(());
    };
    let classes = numbers.len();
    if numbers.iter().any(|x| x.fract() != 0.0) || (10 < classes && dataset.n_points() < 2 * classes) {
        bail!(
            "{}: the target has {classes} different numbers on {} points; if they are no classes, add --regression",
            dataset.name(),
            dataset.n_points()
        );
    }
    Ok(())
}

/// Targets with mean 0 and variance 1 over the training points, so that no kernel has to learn their mean and errors are
/// shares of their variance.
fn standard(train: &Dataset, test: &Dataset) -> anyhow::Result<(Dataset, Dataset)> {
    let scaling = Scaling::standard(train.targets());
    let scaled = |set: &Dataset| -> anyhow::Result<Dataset> {
        let targets = scaling.apply(set.name(), set.targets())?;
        Ok(Dataset::regression(set.name(), set.inputs().clone(), targets)?)
    };
    Ok((scaled(train)?, scaled(test)?))
}

/// An architecture: a file, or one of the library's.
#[derive(Args)]
pub(crate) struct ArchitectureArgs {
    /// File with a network; its first data axis is the batch
    network: Option<PathBuf>,
    /// The network of this name, if the file has several
    #[arg(long, value_name = "NAME", requires = "network")]
    item: Option<String>,
    /// An architecture of the library instead of a file
    #[arg(long, value_name = "NAME", conflicts_with = "network")]
    zoo: Option<Zoo>,
    /// Hidden layers (mlp and conv only) [default: 2]
    #[arg(long, value_name = "LAYERS", conflicts_with = "network")]
    depth: Option<u32>,
    /// Activation: relu, tanh, erf, gelu, ...
    #[arg(long, default_value = "relu", value_parser = activation, conflicts_with = "network")]
    activation: Activation,
    /// Standard deviation of weights, relative to 1 / sqrt(fan-in)
    #[arg(long, value_name = "STD", default_value_t = std::f64::consts::SQRT_2, conflicts_with = "network")]
    w_std: f64,
    /// Standard deviation of biases (mlp only); 0 for none
    #[arg(long, value_name = "STD", default_value_t = 0.0, conflicts_with = "network")]
    b_std: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Zoo {
    /// Multilayer perceptron
    Mlp,
    /// Convolutions along the features, one channel, global average pooling
    Conv,
    /// Autoencoder with tied weights
    Tied,
}

fn activation(name: &str) -> Result<Activation, String> {
    Activation::from_name(name)
        .ok_or_else(|| "unknown activation; try relu, tanh, erf, gelu, silu, sigmoid, sin or identity".to_owned())
}

impl ArchitectureArgs {
    /// The network for `batch` inputs with `features` numbers each, verified. `outputs` is a wish that a file need not
    /// meet.
    pub(crate) fn network(&self, features: usize, outputs: usize, batch: usize) -> anyhow::Result<Verified<Network>> {
        let dim = u32::try_from(features)?;
        let n_outputs = u32::try_from(outputs)?;
        let (activation, w_std) = (self.activation, self.w_std);
        if self.b_std != 0.0 && !matches!(self.zoo, None | Some(Zoo::Mlp)) {
            bail!("--b-std {}: only --zoo mlp has biases", self.b_std);
        }
        if let (Some(depth), Some(Zoo::Tied)) = (self.depth, self.zoo) {
            bail!("--depth {depth}: the layers of --zoo tied are fixed");
        }
        let network = match (&self.network, self.zoo) {
            (Some(path), _) => source::read_network(path, self.item.as_deref())?,
            (None, None | Some(Zoo::Mlp)) => {
                let (hidden, b_std) = (self.depth(), self.b_std);
                Mlp { inputs: 1, dim, hidden, outputs: n_outputs, activation, w_std, b_std }.network()?
            }
            (None, Some(Zoo::Conv)) => {
                let positions = dim;
                Conv1d { positions, hidden: self.depth(), activation, w_std, ..Conv1d::default() }.network()?
            }
            (None, Some(Zoo::Tied)) => Tied { inputs: 1, dim, activation, w_std }.network()?,
        };
        Ok(verify_network(with_batch(network, features, batch)?)?)
    }

    fn depth(&self) -> u32 {
        self.depth.unwrap_or(2)
    }

    /// What to call it in tables.
    pub(crate) fn name(&self) -> String {
        match (&self.network, self.zoo) {
            (Some(path), _) => path.display().to_string(),
            (None, zoo) => {
                let zoo = format!("{:?}", zoo.unwrap_or(Zoo::Mlp)).to_lowercase();
                match self.zoo {
                    Some(Zoo::Tied) => format!("{zoo}, {}", self.activation.name()),
                    _ => format!("{zoo}, {} x {}", self.depth(), self.activation.name()),
                }
            }
        }
    }
}

/// The first axis of the only data value.
fn batch_axis(program: &Program) -> anyhow::Result<Id<Axis>> {
    let data = program.value(input(program)?);
    let name = &data.name;
    data.ty.family.first().copied().ok_or_else(|| {
        anyhow!("the data `{name}` of `{}` is no family; its first index must count the inputs", program.name)
    })
}

/// The network with its batch axis set to `batch`: the first axis of its only data value.
fn with_batch(mut network: Network, features: usize, batch: usize) -> anyhow::Result<Network> {
    let program = &mut network.program;
    let data = input(program)?;
    let value = program.value(data);
    let name = value.name.clone();
    let axis = batch_axis(program)?;
    let size = match value.ty.kind {
        Kind::Vector(Dim::Finite(size)) => size as usize,
        _ => 1,
    };
    let each = size * program.family_sizes(data)[1..].iter().product::<usize>();
    if each != features {
        bail!("the data `{name}` of `{}` has {each} numbers an input, the data set has {features}", program.name);
    }
    if program.tables.iter().any(|table| table.axes.contains(&axis)) {
        bail!("a table of `{}` is indexed by the inputs, so that their number is fixed", program.name);
    }
    program.axes[axis.index()].size = u32::try_from(batch)?;
    Ok(network)
}

/// The only data value of a program, but for single numbers, which all inputs share.
pub(crate) fn input(program: &Program) -> anyhow::Result<ValueId> {
    let number = |id: ValueId| {
        let ty = &program.value(id).ty;
        ty.kind == Kind::Scalar && ty.family.is_empty()
    };
    let mut data = data_of(program).filter(|&id| !number(id));
    match (data.next(), data.next()) {
        (Some(id), None) => Ok(id),
        _ => Err(anyhow!("`{}` needs exactly one data value to be used on a data set", program.name)),
    }
}
