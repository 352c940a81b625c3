//! Files of layers: a name, the shape of an input, and a list, in TOML or JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{InputShape, Layer, LayerError, network};
use netsor_ir::Network;

/// A network as a file says it.
///
/// ```
/// use netsor_zoo::layers::LayerList;
///
/// let list = LayerList::from_toml(r#"
/// name = "convnet"
///
/// [input]
/// positions = [8]
/// channels = 3
///
/// [[layers]]
/// op = "conv"
/// filter_shape = [3]
/// padding = "SAME"
/// w_std = 1.4
///
/// [[layers]]
/// op = "relu"
///
/// [[layers]]
/// op = "global_avg_pool"
///
/// [[layers]]
/// op = "dense"
/// "#)?;
/// assert_eq!(list.network()?.parameters.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerList {
    /// The name of the network.
    pub name: String,
    /// The shape of a batch of inputs.
    pub input: InputShape,
    /// The layers; the last is a dense readout.
    pub layers: Vec<Layer>,
}

/// Why a file is not a list of layers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ListError {
    /// Not TOML or not JSON.
    #[error("line {line}, column {column}: not {format}: {message}")]
    Syntax {
        /// The format.
        format: &'static str,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the reader of the format says.
        message: String,
    },
    /// A field is missing, unknown or of the wrong type.
    #[error("{place}: {message}")]
    Field {
        /// Where, such as `input` or `layer 2 (Conv)`.
        place: String,
        /// What was found, and what was expected.
        message: String,
    },
    /// An operation that does not exist.
    #[error("{place}: unknown layer `{found}`; did you mean `{nearest}`?")]
    UnknownLayer {
        /// Where.
        place: String,
        /// What was found.
        found: String,
        /// The layer with the most similar name.
        nearest: String,
    },
    /// The list is understood and is not a network.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

impl LayerList {
    /// Reads TOML.
    ///
    /// # Errors
    /// If the text is not TOML, or a field is missing, unknown or of the wrong type.
    pub fn from_toml(text: &str) -> Result<Self, ListError> {
        let value: Value = toml::from_str(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            ListError::Syntax { format: "TOML", line, column, message: error.message().to_owned() }
        })?;
        Self::from_value(value)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// As [`LayerList::from_toml`].
    pub fn from_json(text: &str) -> Result<Self, ListError> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            ListError::Syntax { format: "JSON", line, column, message }
        })?;
        Self::from_value(value)
    }

    /// The network.
    ///
    /// # Errors
    /// If a layer is not supported, does not fit what comes before it, or the last is not dense.
    pub fn network(&self) -> Result<Network, LayerError> {
        network(&self.name, &self.layers, &self.input)
    }

    fn from_value(value: Value) -> Result<Self, ListError> {
        let field = |message: String| ListError::Field { place: "the file".into(), message };
        let Value::Object(mut fields) = value else {
            return Err(field(format!("expected the fields `input` and `layers`, found {}", kind(&value))));
        };
        let name = match fields.remove("name") {
            None => "layers".to_owned(),
            Some(Value::String(name)) if is_name(&name) => name,
            Some(other) => return Err(field(format!("`name` is {other}; expected letters, digits and `_` in quotes"))),
        };
        let input = fields.remove("input").ok_or_else(|| {
            field(
                "there is no `input`; say the shape of an input, such as `input = { positions = [8], channels = 3 }`"
                    .into(),
            )
        })?;
        let input = serde_json::from_value(input)
            .map_err(|error| ListError::Field { place: "input".into(), message: error.to_string() })?;
        let layers = match fields.remove("layers") {
            Some(Value::Array(layers)) => layers,
            Some(other) => return Err(field(format!("`layers` is {}; expected a list", kind(&other)))),
            None => return Err(field("there is no list `layers`".into())),
        };
        if let Some(unknown) = fields.keys().next() {
            return Err(field(format!("unknown field `{unknown}`; expected `name`, `input` or `layers`")));
        }
        let layers =
            layers.iter().enumerate().map(|(k, layer)| read(layer, &k.to_string())).collect::<Result<_, _>>()?;
        Ok(Self { name, input, layers })
    }
}

/// One layer; `at` is its place in the lists.
fn read(value: &Value, at: &str) -> Result<Layer, ListError> {
    let op = value.get("op").and_then(Value::as_str);
    let place = match op {
        Some(op) => format!("layer {at} ({op})"),
        None => format!("layer {at}"),
    };
    let error = match Layer::deserialize(value) {
        Ok(layer) => return Ok(layer),
        Err(error) => error,
    };
    let Some(op) = op else {
        let message = format!("expected a layer such as {{ \"op\": \"Dense\" }}, found {}", kind(value));
        return Err(ListError::Field { place, message });
    };
    // What is wrong inside of a list of layers is said there.
    let inner = |list: &Value, at: &str| -> Result<(), ListError> {
        let layers = list.as_array().into_iter().flatten().enumerate();
        layers.into_iter().try_for_each(|(k, layer)| read(layer, &format!("{at}:{k}")).map(|_| ()))
    };
    if let Some(layers) = value.get("layers") {
        inner(layers, at)?;
    }
    for (k, branch) in value.get("branches").and_then(Value::as_array).into_iter().flatten().enumerate() {
        inner(branch, &format!("{at}:{k}"))?;
    }
    let unknown = known_ops().into_iter().all(|known| known != op);
    if unknown
        && let Some(nearest) = known_ops().into_iter().min_by_key(|known| {
            (distance(op, known), known.chars().any(char::is_uppercase) != op.chars().any(char::is_uppercase))
        })
    {
        return Err(ListError::UnknownLayer { place, found: op.to_owned(), nearest });
    }
    // TOML has infinities, which the common form of both formats has not.
    let message = error.to_string();
    let message = if message.contains("type: null") { "a number is not finite".to_owned() } else { message };
    Err(ListError::Field { place, message })
}

/// The names of layers, which `serde` lists when it meets a name that is none.
fn known_ops() -> Vec<String> {
    let nothing = Map::from_iter([("op".to_owned(), Value::from(""))]);
    let Err(error) = Layer::deserialize(&Value::Object(nothing)) else { return Vec::new() };
    let message = error.to_string();
    message.split('`').skip(1).step_by(2).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table without `op`",
    }
}

/// Whether the text can be the name of a network.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Line and column, from 1, of a byte of a text.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

/// How many letters have to be changed, inserted or left out to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let letters: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=letters.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in letters.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[letters.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match LayerList::from_toml(text).and_then(|list| list.network().map_err(Into::into)) {
            Ok(network) => format!("{} parameters", network.parameters.len()),
            Err(error) => error.to_string(),
        }
    }

    const INPUT: &str = "input = { positions = [4], channels = 3 }\n";

    #[test]
    fn what_is_wrong_is_said_where_it_is() {
        insta::assert_snapshot!(error("layers = ["), @"line 1, column 11: not TOML: unclosed array, expected `]`");
        insta::assert_snapshot!(error("layers = []"), @"the file: there is no `input`; say the shape of an input, such as `input = { positions = [8], channels = 3 }`");
        insta::assert_snapshot!(error("input = { channel = 3 }\nlayers = []"), @"input: unknown field `channel`, expected one of `inputs`, `positions`, `channels`");
        insta::assert_snapshot!(error(&format!("{INPUT}layers = []")), @"the last layer must be `Dense`, which is the readout; found no layer");
        insta::assert_snapshot!(error(&format!("{INPUT}layers = [{{ op = 'Convv' }}]")), @"layer 0 (Convv): unknown layer `Convv`; did you mean `Conv`?");
        insta::assert_snapshot!(error(&format!("{INPUT}layers = [{{ op = 'Dense', w_sd = 2 }}]")), @"layer 0 (Dense): unknown field `w_sd`, expected one of `W_std`, `w_std`, `b_std`, `out_dim`, `parameterization`");
        insta::assert_snapshot!(error(&format!("{INPUT}layers = [{{ op = 'Dense' }}, {{ op = 'Relu' }}]")), @"the last layer must be `Dense`, which is the readout; found `Relu`");
        insta::assert_snapshot!(error(&format!("{INPUT}layers = [{{ op = 'Dense' }}]")), @"layer 0 (Dense): expected an input without positions (use Flatten or GlobalAvgPool), found 1 axes of positions");
        insta::assert_snapshot!(
            error(&format!("{INPUT}layers = [{{ op = 'residual', layers = [{{ op = 'densse' }}] }}]")), @"layer 0:0 (densse): unknown layer `densse`; did you mean `dense`?");
        insta::assert_snapshot!(
            error(&format!("{INPUT}layers = [{{ op = 'residual', layers = [{{ op = 'flatten' }}] }}, {{ op = 'dense' }}]")),
            @"layer 0 (Residual): expected inputs of one shape, found different shapes");
        insta::assert_snapshot!(
            error(&format!("{INPUT}layers = [{{ op = 'Conv', filter_shape = [7] }}, {{ op = 'Dense' }}]")), @"layer 0 (Conv): expected at least 7 positions, found 4 positions with a window of 7 and stride 1");
        insta::assert_snapshot!(
            error(&format!("{INPUT}layers = [{{ op = 'activation', fn = 'log' }}, {{ op = 'Flatten' }}, {{ op = 'Dense' }}]")),
            @"layer 0 (Elementwise): `log` is no activation; expected one of tanh, relu, leaky_relu, abs, erf, exp, sin, cos, sigmoid, softplus, gelu, silu, elu, step, sign");
        insta::assert_snapshot!(error(&format!("{INPUT}layers = [{{ op = 'Flatten' }}, {{ op = 'Dense', W_std = nan }}]")), @"layer 1 (Dense): a number is not finite");
        insta::assert_snapshot!(error(&format!("{INPUT}layers = [{{ op = 'Flatten' }}, {{ op = 'Dense' }}]")), @"1 parameters");
    }

    #[test]
    fn toml_and_json_are_the_same_list() {
        let toml = "name = 'a'\ninput = { inputs = 3, channels = 2 }\n[[layers]]\nop = 'dense'\nb_std = 0.1\n";
        let json = r#"{"name": "a", "input": {"inputs": 3, "channels": 2}, "layers": [{"op": "Dense", "b_std": 0.1}]}"#;
        let list = LayerList::from_toml(toml).unwrap();
        assert_eq!(LayerList::from_json(json).unwrap(), list);
        assert_eq!(LayerList::from_json(&serde_json::to_string(&list).unwrap()).unwrap(), list);
        assert!(matches!(LayerList::from_json("{\n  ]"), Err(ListError::Syntax { line: 2, .. })));
    }
}
