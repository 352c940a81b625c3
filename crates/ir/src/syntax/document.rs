//! The versioned form for files and messages: the text, and the version of the language that it is in.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::diagnostic::Diagnostics;
use crate::syntax::{Item, parse};

/// The version of the language that this crate reads and writes.
const VERSION: u32 = 1;

/// Programs and networks as a value of `serde`: `{ "netsor": 1, "text": "..." }`.
///
/// Loading parses and verifies again, so a document cannot bring in a program that the verifier has not seen.
///
/// ```
/// use netsor_ir::syntax::Document;
///
/// let document = Document::new("program p { data c }")?;
/// let json = serde_json::to_string(&document)?;
/// let back: Document = serde_json::from_str(&json)?;
/// assert_eq!(back.items()?[0].name(), "p");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    netsor: u32,
    text: String,
}

/// Why a document cannot be used.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// It was written by another version of the language.
    #[error("document of version {found} of the language, expected version {VERSION}")]
    Version {
        /// The version in the document.
        found: u32,
    },
    /// Its text has errors.
    #[error("the text of the document is not a program: {0}")]
    Text(#[from] Diagnostics),
}

impl Document {
    /// A document of the source, which is kept as it is.
    ///
    /// # Errors
    /// The problems of the source.
    pub fn new(source: &str) -> Result<Self, DocumentError> {
        parse(source)?;
        Ok(Self { netsor: VERSION, text: source.to_owned() })
    }

    /// A document of the core text of the items.
    ///
    /// # Errors
    /// The problems of the items.
    pub fn of_items(items: &[Item]) -> Result<Self, DocumentError> {
        let texts: Vec<String> = items.iter().map(Item::print).collect();
        Self::new(&texts.join("\n"))
    }

    /// The source.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The items, parsed and verified.
    ///
    /// # Errors
    /// If the version is unknown, or the problems of the text.
    pub fn items(&self) -> Result<Vec<Item>, DocumentError> {
        if self.netsor != VERSION {
            return Err(DocumentError::Version { found: self.netsor });
        }
        Ok(parse(&self.text)?.into_iter().map(|parsed| parsed.item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_and_bad_texts_are_refused() {
        let later: Document = serde_json::from_str(r#"{"netsor": 2, "text": "program p {}"}"#).unwrap();
        assert!(matches!(later.items(), Err(DocumentError::Version { found: 2 })));
        let bad: Document = serde_json::from_str(r#"{"netsor": 1, "text": "program p { y = x }"}"#).unwrap();
        assert!(matches!(bad.items(), Err(DocumentError::Text(_))));
    }
}
