//! Programs and networks from files: text of the language, or lists of layers in TOML or JSON.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use netsor_ir::Network;
use netsor_ir::diagnostic::Diagnostics;
use netsor_ir::syntax::{Item, parse};
use netsor_ir::verify::verify_network;
use netsor_zoo::layers::LayerList;

/// A file of programs and networks.
#[derive(Args)]
pub(crate) struct SourceArgs {
    /// File with programs and networks, or with a list of layers (`.toml`, `.json`); `-` for the standard input
    pub(crate) file: PathBuf,
    /// Only the program or network of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) item: Option<String>,
}

impl SourceArgs {
    /// The items of the file, or the one that was asked for.
    pub(crate) fn items(&self) -> anyhow::Result<Vec<Item>> {
        let mut items = items_of(&self.file)?;
        if let Some(name) = &self.item {
            let names: Vec<String> = items.iter().map(|item| item.name().to_owned()).collect();
            items.retain(|item| item.name() == name);
            if items.is_empty() {
                bail!("{} has no item `{name}`; it has {}", self.file.display(), list(&names));
            }
        }
        if items.is_empty() {
            bail!("{} has no program and no network", self.file.display());
        }
        Ok(items)
    }

    /// The only item of the file, or the one that was asked for.
    pub(crate) fn one_item(&self) -> anyhow::Result<Item> {
        let mut items = self.items()?;
        if 1 < items.len() {
            let names: Vec<String> = items.iter().map(|item| item.name().to_owned()).collect();
            bail!("{} has several items; choose one with --item: {}", self.file.display(), list(&names));
        }
        Ok(items.swap_remove(0))
    }
}

/// The only network of a file, or the one of this name.
pub(crate) fn read_network(path: &Path, name: Option<&str>) -> anyhow::Result<Network> {
    let mut networks: Vec<Network> = items_of(path)?
        .into_iter()
        .filter_map(|item| match item {
            Item::Network(network) => Some(network),
            Item::Program(_) => None,
        })
        .collect();
    let names: Vec<String> = networks.iter().map(|network| network.program.name.clone()).collect();
    networks.retain(|network| name.is_none_or(|name| network.program.name == name));
    match (networks.len(), name) {
        (1, _) => Ok(networks.swap_remove(0)),
        (0, Some(name)) => bail!("{} has no network `{name}`; its networks: {}", path.display(), list(&names)),
        (0, None) => bail!("{} has no network", path.display()),
        _ => bail!("{} has several networks; choose one with --item: {}", path.display(), list(&names)),
    }
}

/// Every program and network of a file.
pub(crate) fn items_of(path: &Path) -> anyhow::Result<Vec<Item>> {
    let source = read(path)?;
    let list = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Some(LayerList::from_toml(&source)),
        Some("json") => Some(LayerList::from_json(&source)),
        _ => None,
    };
    if let Some(list) = list {
        let network = list.and_then(|list| Ok(list.network()?));
        let network = network.with_context(|| format!("{} is no list of layers", path.display()))?;
        // The verifier shows what it found in the text of the network.
        let verified = verify_network(network).map_err(|diagnostics| {
            let text = diagnostics.printed.clone().unwrap_or_default();
            SourceError::new(path, text, diagnostics)
        })?;
        return Ok(vec![Item::Network(verified.into_inner())]);
    }
    match parse(&source) {
        Ok(items) => Ok(items.into_iter().map(|parsed| parsed.item).collect()),
        Err(diagnostics) => Err(SourceError::new(path, source, diagnostics).into()),
    }
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("reading the standard input")?;
        bytes
    } else {
        std::fs::read(path).with_context(|| format!("reading {}", path.display()))?
    };
    match String::from_utf8(bytes) {
        // Some editors begin a file with a byte order mark.
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => bail!("{}: not UTF-8 at byte {}", path.display(), error.utf8_error().valid_up_to()),
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
    }
}

/// A source with errors.
#[derive(Debug)]
pub(crate) struct SourceError {
    file: String,
    source: String,
    diagnostics: Diagnostics,
}

impl SourceError {
    pub(crate) fn new(path: &Path, source: String, diagnostics: Diagnostics) -> Self {
        let file = if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
        Self { file, source, diagnostics }
    }

    /// Every problem under the line that it concerns, and how many there are.
    pub(crate) fn render(&self, coloured: bool) -> String {
        let drawn = if coloured && std::env::var_os("NO_COLOR").is_none() {
            self.diagnostics.render_styled(&self.source, &self.file)
        } else {
            self.diagnostics.render(&self.source, &self.file)
        };
        let count = self.diagnostics.list.len();
        format!("{drawn}\n\n{}: {count} error{}", self.file, if count == 1 { "" } else { "s" })
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.diagnostics)
    }
}

impl std::error::Error for SourceError {}
