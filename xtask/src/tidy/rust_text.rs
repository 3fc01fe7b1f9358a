//! A Rust source taken apart into code, comments and string contents, so that a rule about one is not fooled by
//! another: the word for a ban stands in the string that reports it, too.
//!
//! Each part has the lines and columns of the source, with spaces where the other parts are.

/// One source, three times.
#[derive(Debug)]
pub struct RustText {
    pub code: String,
    pub comments: String,
    /// Contents of string and character literals, quotes included.
    pub strings: String,
    /// Per line: whether it stands in a `#[cfg(test)]` module.
    in_test: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl RustText {
    pub fn parse(text: &str) -> Self {
        let source: Vec<char> = text.chars().collect();
        let mut parts = Vec::with_capacity(source.len());
        while parts.len() < source.len() {
            let at = parts.len();
            let (part, end) = token(&source, at);
            parts.resize(end.clamp(at + 1, source.len()), part);
        }
        let only = |wanted: Part| -> String {
            source
                .iter()
                .zip(&parts)
                .map(|(c, part)| if *part == wanted || *c == '\n' { *c } else { ' ' })
                .collect()
        };
        let code = only(Part::Code);
        let in_test = test_lines(&code);
        Self { comments: only(Part::Comment), strings: only(Part::Literal), code, in_test }
    }

    /// Whether a line (from 0) belongs to a `#[cfg(test)]` module of this file.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.in_test.get(line).copied().unwrap_or(false)
    }
}

/// What begins at `at`, and where it ends.
fn token(source: &[char], at: usize) -> (Part, usize) {
    let starts = |word: &str| word.chars().enumerate().all(|(i, c)| source.get(at + i) == Some(&c));
    if starts("//") {
        (Part::Comment, find(source, at, |c| c == '\n'))
    } else if starts("/*") {
        (Part::Comment, block_comment_end(source, at))
    } else if source[at] == '"' {
        (Part::Literal, quoted_end(source, at + 1, '"'))
    } else if source[at] == '\'' {
        character(source, at)
    } else if is_word(source[at]) {
        word(source, at)
    } else {
        (Part::Code, at + 1)
    }
}

/// A word is code, but for the prefix of a literal: `r#"..."#`, `b"..."`, `c"..."`, `b'x'`.
fn word(source: &[char], at: usize) -> (Part, usize) {
    let end = find(source, at, |c| !is_word(c));
    let prefix: String = source[at..end].iter().collect();
    let raw = matches!(prefix.as_str(), "r" | "br" | "cr");
    match source.get(end) {
        Some('"') if raw => (Part::Literal, raw_end(source, end, 0)),
        Some('#') if raw => {
            let quote = find(source, end, |c| c != '#');
            match source.get(quote) {
                Some('"') => (Part::Literal, raw_end(source, quote, quote - end)),
                _ => (Part::Code, end),
            }
        }
        Some('"') if matches!(prefix.as_str(), "b" | "c") => {
            (Part::Literal, quoted_end(source, end + 1, '"'))
        }
        Some('\'') if prefix == "b" => (Part::Literal, quoted_end(source, end + 1, '\'')),
        _ => (Part::Code, end),
    }
}

/// `'x'` and `'\n'` are literals, `'a` is a lifetime.
fn character(source: &[char], at: usize) -> (Part, usize) {
    match (source.get(at + 1), source.get(at + 2)) {
        (Some('\\'), _) => (Part::Literal, quoted_end(source, at + 1, '\'')),
        (Some(_), Some('\'')) => (Part::Literal, at + 3),
        _ => (Part::Code, at + 1),
    }
}

fn quoted_end(source: &[char], mut at: usize, quote: char) -> usize {
    while let Some(c) = source.get(at) {
        at += if *c == '\\' { 2 } else { 1 };
        if *c == quote {
            break;
        }
    }
    at
}

fn raw_end(source: &[char], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < source.len() {
        if source[at] == '"' && (1..=hashes).all(|i| source.get(at + i) == Some(&'#')) {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

fn block_comment_end(source: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < source.len() {
        match (source[at], source.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn find(source: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    source[from..].iter().position(|c| is_end(*c)).map_or(source.len(), |distance| from + distance)
}

/// Whether `c` may stand in an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Byte positions where `word` stands in `text` as a word of its own.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !text[..*at].chars().next_back().is_some_and(is_word)
            && !text[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

/// The lines of `#[cfg(test)] mod x { ... }`, found by its braces: literals and comments are already gone.
fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count()];
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let Some(open) = code[at..].find(['{', ';']).filter(|open| code[at + open..].starts_with('{')) else {
            continue;
        };
        let mut depth = 0_u32;
        let mut end = code.len();
        for (distance, c) in code[at + open..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => continue,
            }
            if depth == 0 {
                end = at + open + distance;
                break;
            }
        }
        let (first, last) = (line_of(code, at), line_of(code, end));
        lines.iter_mut().take(last + 1).skip(first).for_each(|line| *line = true);
    }
    lines
}

/// The line (from 0) of a byte position.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        let text = RustText::parse(
            "let a = \"// no \\\" b\"; // yes \"c\"\n/* x /* y */ z */ f('\"', '\\'', 'q');\n",
        );
        assert_eq!(squeezed(&text.code), "let a = ; f( , , );");
        assert_eq!(squeezed(&text.comments), "// yes \"c\" /* x /* y */ z */");
        assert!(text.strings.contains("// no") && !text.strings.contains("yes"));
    }

    #[test]
    fn raw_strings_end_at_their_own_mark() {
        let text = RustText::parse("f(r#\"a \"quoted\" // b\"#, br\"\\\", r#type, b\"x\", c\"y\", b'z')");
        assert_eq!(squeezed(&text.code), "f( , , r#type, , , )");
        assert!(text.strings.contains("\"quoted\" // b"));
    }

    #[test]
    fn a_lifetime_is_no_literal() {
        let text = RustText::parse("fn f<'a>(x: &'a str, y: &'static str) -> Option<&'a str> { None }");
        assert!(text.strings.trim().is_empty(), "{}", text.strings);
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_file() {
        assert_eq!(RustText::parse("let a = \"b\\").strings.trim(), "\"b\\");
        assert_eq!(RustText::parse("/* a").comments.trim(), "/* a");
    }

    #[test]
    fn the_lines_of_a_test_module_are_known() {
        let text =
            RustText::parse("fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { \"}\"; }\n}\nfn c() {}\n");
        let lines: Vec<bool> = (0..6).map(|line| text.is_test_line(line)).collect();
        assert_eq!(lines, [false, true, true, true, true, false]);
        let text = RustText::parse("#[cfg(test)]\nmod tests;\nfn a() {}\n");
        assert!(!text.is_test_line(2));
    }

    #[test]
    fn a_word_is_found_only_whole() {
        assert_eq!(words("to do: todo, todos, a_todo", "todo").collect::<Vec<_>>(), [7]);
    }
}
