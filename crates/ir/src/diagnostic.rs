//! Diagnostics: what is wrong with a program, where, and how to mend it.
//!
//! The parser, the elaborator and the verifier never stop at the first problem: each collects all that it finds as
//! [`Diagnostics`]. A diagnostic knows a code, a span of the source and what to say about it; drawing is left to
//! [`Diagnostics::render`].
//!
//! ```
//! let source = "program p {\n  y = tahn(x)\n}\n";
//! let errors = netsor_ir::syntax::parse(source).unwrap_err();
//! let text = errors.render(source, "p.netsor");
//! assert!(text.contains("unknown function `tahn`"));
//! assert!(text.contains("did you mean `tanh`?"));
//! ```

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A short stable name of the rule that was broken, such as `unknown-name`.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where, as bytes of the source.
    pub span: Range<usize>,
    /// What to say at the span.
    pub label: String,
    /// Other places that matter.
    pub secondary: Vec<(Range<usize>, String)>,
    /// Why it is wrong, or what is known.
    pub notes: Vec<String>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without label, notes and help.
    pub fn new(code: &'static str, message: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            code,
            message: message.into(),
            span,
            label: String::new(),
            secondary: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Sets the text at the span.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn secondary(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.secondary.push((span, label.into()));
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Sets the help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All problems of one source, in the order of their spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// The problems; not empty when returned as an error.
    pub list: Vec<Diagnostic>,
    /// The text that the spans point into, when it is not the one that the caller gave: a program built in Rust is
    /// printed, and its diagnostics point into the print.
    pub printed: Option<String>,
}

impl Diagnostics {
    /// Diagnostics about a source that the caller has.
    pub fn new(mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|d| (d.span.start, d.span.end));
        list.dedup();
        Self { list, printed: None }
    }

    /// Draws every problem under the line that it concerns, without colours.
    pub fn render(&self, source: &str, file: &str) -> String {
        self.render_with(source, file, &Renderer::plain())
    }

    /// [`Diagnostics::render`] with terminal colours.
    pub fn render_styled(&self, source: &str, file: &str) -> String {
        self.render_with(source, file, &Renderer::styled())
    }

    fn render_with(&self, source: &str, file: &str, renderer: &Renderer) -> String {
        let source = self.printed.as_deref().unwrap_or(source);
        let drawn: Vec<String> = self.list.iter().map(|d| renderer.render(&[group(d, source, file)])).collect();
        drawn.join("\n\n")
    }
}

fn group<'a>(diagnostic: &'a Diagnostic, source: &'a str, file: &'a str) -> Group<'a> {
    let primary = AnnotationKind::Primary.span(clamp(&diagnostic.span, source)).label(&diagnostic.label);
    let others =
        diagnostic.secondary.iter().map(|(span, label)| AnnotationKind::Context.span(clamp(span, source)).label(label));
    let snippet = Snippet::source(source).path(file).annotation(primary).annotations(others);
    let mut group = Level::ERROR.primary_title(&diagnostic.message).id(diagnostic.code).element(snippet);
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    group
}

/// The span inside the source and on character boundaries, whatever it was.
fn clamp(span: &Range<usize>, source: &str) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, diagnostic) in self.list.iter().enumerate() {
            if 0 < k {
                f.write_str("; ")?;
            }
            f.write_str(&diagnostic.message)?;
            if !diagnostic.label.is_empty() {
                write!(f, " ({})", diagnostic.label)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
