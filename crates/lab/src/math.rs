//! Texts with `$...$`: as HTML with MathML, and as plain text for terminals.

use pulldown_latex::{Event, Parser, ParserError, RenderConfig, Storage, push_mathml};

/// HTML of a text: everything outside `$...$` is escaped, everything inside becomes MathML.
///
/// `\$` is a dollar. A formula that does not parse, or that is not closed, is shown as it was
/// written.
#[must_use]
pub fn to_html(text: &str) -> String {
    render(text, escape, formula_html)
}

/// Plain text: Greek letters and relations become Unicode, braces and dollars vanish.
#[must_use]
pub fn to_plain(text: &str) -> String {
    render(text, str::to_owned, formula_plain)
}

/// Escapes a text for HTML, attributes included.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

fn render(text: &str, words: impl Fn(&str) -> String, formula: impl Fn(&str) -> String) -> String {
    const DOLLAR: &str = "\u{e000}"; // private use: stands for an escaped dollar
    let hidden = text.replace(r"\$", DOLLAR);
    let parts: Vec<&str> = hidden.split('$').collect();
    let mut out = String::new();
    for (i, part) in parts.iter().enumerate() {
        let closed = i + 1 < parts.len();
        match (i % 2, closed) {
            (0, _) => out.push_str(&words(part)),
            (_, true) => out.push_str(&formula(part)),
            (_, false) => out.push_str(&words(&format!("${part}"))),
        }
    }
    out.replace(DOLLAR, "$")
}

fn formula_html(latex: &str) -> String {
    let storage = Storage::new();
    let parsed: Result<Vec<Event>, ParserError> = Parser::new(latex, &storage).collect();
    let mut html = String::new();
    let drawn = match parsed {
        Ok(events) => {
            let events = events.into_iter().map(Ok::<_, ParserError>);
            push_mathml(&mut html, events, RenderConfig::default()).is_ok()
        }
        Err(_) => false,
    };
    // The renderer writes the characters `<` and `&` of a formula as they are.
    let html = html.replace("><</", ">&lt;</").replace(">&</", ">&amp;</");
    if drawn { html } else { format!("<code>{}</code>", escape(latex)) }
}

/// Commands that have a character, longest names first where one begins another.
const SYMBOLS: &[(&str, &str)] = &[
    ("alpha", "α"),
    ("beta", "β"),
    ("gamma", "γ"),
    ("delta", "δ"),
    ("Delta", "Δ"),
    ("epsilon", "ε"),
    ("varepsilon", "ε"),
    ("eta", "η"),
    ("theta", "θ"),
    ("Theta", "Θ"),
    ("kappa", "κ"),
    ("lambda", "λ"),
    ("mu", "μ"),
    ("nu", "ν"),
    ("xi", "ξ"),
    ("pi", "π"),
    ("rho", "ρ"),
    ("sigma", "σ"),
    ("Sigma", "Σ"),
    ("tau", "τ"),
    ("phi", "φ"),
    ("varphi", "φ"),
    ("psi", "ψ"),
    ("chi", "χ"),
    ("omega", "ω"),
    ("le", "≤"),
    ("leq", "≤"),
    ("ge", "≥"),
    ("geq", "≥"),
    ("ne", "≠"),
    ("neq", "≠"),
    ("approx", "≈"),
    ("sim", "~"),
    ("to", "→"),
    ("rightarrow", "→"),
    ("infty", "∞"),
    ("cdot", "·"),
    ("times", "×"),
    ("pm", "±"),
    ("in", "∈"),
    ("sqrt", "√"),
    ("sum", "Σ"),
    ("partial", "∂"),
    ("nabla", "∇"),
    ("langle", "⟨"),
    ("rangle", "⟩"),
    ("top", "ᵀ"),
    ("dots", "…"),
    ("ldots", "…"),
    ("ell", "ℓ"),
];

fn formula_plain(latex: &str) -> String {
    let mut out = String::new();
    let mut rest = latex;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                rest = after;
                match (name, SYMBOLS.iter().find(|(command, _)| *command == name)) {
                    // `\,`, `\{` and their like: spaces and braces.
                    ("", _) => {
                        let mut chars = rest.chars();
                        match chars.next() {
                            Some(',' | ';' | ':' | ' ') => out.push(' '),
                            Some('!') | None => {}
                            Some(other) => out.push(other),
                        }
                        rest = chars.as_str();
                    }
                    ("frac" | "tfrac" | "dfrac", None) => {
                        let (above, after) = argument(rest);
                        let (below, after) = argument(after);
                        rest = after;
                        out.push_str(&format!("{}/{}", grouped(above), grouped(below)));
                    }
                    (_, Some((_, symbol))) => out.push_str(symbol),
                    (
                        "mathcal" | "mathbb" | "mathrm" | "text" | "operatorname" | "left" | "right" | "bar" | "hat"
                        | "tilde" | "mathring",
                        None,
                    ) => {}
                    (name, None) => out.push_str(name),
                }
            }
            // A script of several characters keeps its extent visible.
            '^' | '_' if rest.starts_with('{') => {
                let (script, after) = argument(rest);
                rest = after;
                out.push(c);
                out.push_str(&grouped(script));
            }
            ' ' if out.ends_with(' ') => {}
            '{' | '}' => {}
            c => out.push(c),
        }
    }
    out
}

/// The first argument in a text, without its braces, and what follows it.
fn argument(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    if text.starts_with('{') {
        let end = matching_brace(text);
        return (&text[1..end], text.get(end + 1..).unwrap_or(""));
    }
    text.split_at(text.chars().next().map_or(0, char::len_utf8))
}

/// Plain text of an argument, in parentheses when longer than a character.
fn grouped(latex: &str) -> String {
    let plain = formula_plain(latex);
    if plain.chars().count() == 1 { plain } else { format!("({plain})") }
}

/// Position of the brace that closes the one a text begins with, or its length.
fn matching_brace(text: &str) -> usize {
    let mut depth = 0_usize;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_mathml() {
        let html = to_html(r"error of $n^{-1/2}$ & more, \$5");
        assert!(html.starts_with("error of <math"), "{html}");
        assert!(html.contains("<msup>"), "{html}");
        assert!(html.ends_with(" &amp; more, $5"), "{html}");
        let html = to_html(r"$a < b \& c$");
        assert!(html.contains("&lt;</mo>") && html.contains("&amp;</"), "{html}");
    }

    #[test]
    fn nothing_escapes_the_text() {
        for hostile in ["<script>", "$<script>$", r"$\text{<script>}$", "$\\frac{<b>$", "$<script>"] {
            let html = to_html(hostile);
            assert!(!html.contains("<script>") && !html.contains("<b>"), "{hostile}: {html}");
        }
    }

    #[test]
    fn broken_formulas_are_shown_as_written() {
        assert_eq!(to_html(r"$\frac{1}$x"), r"<code>\frac{1}</code>x");
        assert_eq!(to_html(r"costs $5"), "costs $5");
    }

    #[test]
    fn plain_text_for_terminals() {
        assert_eq!(to_plain(r"$\|\Theta_n - \Theta\| \le C n^{-1/2}$"), "|Θ_n - Θ| ≤ C n^(-1/2)");
        assert_eq!(to_plain(r"slope $\mathcal{O}(1/n)$ of $K_{ij}$"), "slope O(1/n) of K_(ij)");
        assert_eq!(to_plain(r"$\frac{1}{n} \sum u_i$"), "1/n Σ u_i");
        assert_eq!(to_plain(r"$\tfrac12 \mathbb{E}\, u^2$"), "1/2 E u^2");
        assert_eq!(to_plain(r"$\frac{$, $\frac$"), "()/(), ()/()");
        assert_eq!(to_plain(r"$x^{"), "$x^{");
        assert_eq!(to_plain(r"$x^{$"), "x^()");
    }
}
