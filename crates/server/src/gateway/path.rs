//! The path of a request in the one form that rules are compared with.
//!
//! The gateway decides on a path, and something else serves it. Wherever the two could read a path differently, a request
//! gets past a rule; so a path that can be read in more than one way is refused, not repaired: repairing it would be a guess
//! at how the upstream does it.

use std::fmt;

/// Longer than any path that is served, and short enough to be judged many times a second.
pub const MAX_PATH_BYTES: usize = 8192;

/// Decoded once; begins with a slash, and has no slash at the end unless it is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath(String);

/// Why a path can be read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguity {
    NotAbsolute,
    TooLong,
    /// A backslash, which Windows takes for a slash.
    Backslash,
    /// `#`, a control character, a space, or a byte beyond ASCII, which RFC 3986 allows encoded only.
    RawByte,
    /// A `%` without two hexadecimal digits behind it.
    BadEncoding,
    /// One of `/ \ . % ? # ;` as `%xx`: what reads the path after decoding it takes it for what it separates, or decodes
    /// it again.
    EncodedDelimiter,
    /// `%00` to `%1f` and `%7f`.
    EncodedControl,
    /// What is encoded is not UTF-8, as in the overlong `%c0%af`.
    NotUtf8,
    /// `//`
    EmptySegment,
    /// `.` or `..`
    DotSegment,
    /// `;`: some upstreams cut everything from it to the next slash, so that `/a;b/c` is `/a/c` to them and `/..;/` is `/../`.
    Parameter,
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::TooLong => "the path is too long",
            Self::Backslash => "the path has a backslash",
            Self::RawByte => "the path has a character that must be encoded",
            Self::BadEncoding => "the path has a % without two hexadecimal digits",
            Self::EncodedDelimiter => "the path has an encoded delimiter",
            Self::EncodedControl => "the path has an encoded control character",
            Self::NotUtf8 => "the path is not UTF-8",
            Self::EmptySegment => "the path has an empty segment",
            Self::DotSegment => "the path has a dot segment",
            Self::Parameter => "the path has a parameter",
        })
    }
}

impl NormalPath {
    /// Of the path as the client sent it, without the query.
    pub fn of(raw: &str) -> Result<Self, Ambiguity> {
        if raw.len() > MAX_PATH_BYTES {
            return Err(Ambiguity::TooLong);
        }
        let Some(segments) = raw.strip_prefix('/') else { return Err(Ambiguity::NotAbsolute) };
        let mut normal = String::with_capacity(raw.len());
        let mut rest = segments.split('/').peekable();
        while let Some(segment) = rest.next() {
            // Nothing behind the last slash is a path that ends in a slash.
            if segment.is_empty() {
                if rest.peek().is_some() {
                    return Err(Ambiguity::EmptySegment);
                }
                break;
            }
            let segment = decode(segment)?;
            if matches!(segment.as_str(), "." | "..") {
                return Err(Ambiguity::DotSegment);
            }
            normal.push('/');
            normal.push_str(&segment);
        }
        if normal.is_empty() {
            normal.push('/');
        }
        Ok(Self(normal))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For upstreams to which `/Admin` and `/admin` are the same.
    pub fn without_case(&self) -> Self {
        Self(self.0.to_lowercase())
    }

    /// Whether this is `upper` or below it, by whole segments.
    pub fn is_at_or_below(&self, upper: &Self) -> bool {
        upper.0 == "/"
            || self.0.strip_prefix(&upper.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn decode(segment: &str) -> Result<String, Ambiguity> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => decoded([rest.next(), rest.next()])?,
            b'\\' => return Err(Ambiguity::Backslash),
            b';' => return Err(Ambiguity::Parameter),
            b'#' | 0..=b' ' | 0x7f.. => return Err(Ambiguity::RawByte),
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| Ambiguity::NotUtf8)
}

fn decoded(digits: [Option<u8>; 2]) -> Result<u8, Ambiguity> {
    let [Some(high), Some(low)] = digits.map(|digit| char::from(digit?).to_digit(16)) else {
        return Err(Ambiguity::BadEncoding);
    };
    let byte = u8::try_from(high * 16 + low).map_err(|_| Ambiguity::BadEncoding)?;
    match byte {
        b'/' | b'\\' | b'.' | b'%' | b'?' | b'#' | b';' => Err(Ambiguity::EncodedDelimiter),
        0..=0x1f | 0x7f => Err(Ambiguity::EncodedControl),
        byte => Ok(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::Ambiguity::*;
    use super::*;

    #[test]
    fn a_path_has_one_form_however_its_letters_are_encoded() {
        for (raw, normal) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/b.json", "/a/b.json"),
            ("/%61dmin", "/admin"),
            ("/caf%c3%a9", "/café"),
            ("/caf%C3%A9", "/café"),
            ("/a%20b", "/a b"),
            ("/a+b:c@d~e!$&'()*,=", "/a+b:c@d~e!$&'()*,="),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
        ] {
            assert_eq!(NormalPath::of(raw).map(|path| path.0), Ok(normal.to_owned()), "{raw}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused() {
        for (raw, ambiguity) in [
            ("", NotAbsolute),
            ("a", NotAbsolute),
            ("*", NotAbsolute),
            ("http://host/a", NotAbsolute),
            ("//", EmptySegment),
            ("//a", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a//", EmptySegment),
            ("/a/./b", DotSegment),
            ("/a/../b", DotSegment),
            ("/..", DotSegment),
            ("/a/.", DotSegment),
            ("/a/%2e%2e/b", EncodedDelimiter),
            ("/a/.%2E/b", EncodedDelimiter),
            ("/a%2fb", EncodedDelimiter),
            ("/a%2Fb", EncodedDelimiter),
            ("/a%5cb", EncodedDelimiter),
            ("/a%5Cb", EncodedDelimiter),
            ("/a%252fb", EncodedDelimiter),
            ("/a%3fb", EncodedDelimiter),
            ("/a%23b", EncodedDelimiter),
            ("/a%3bb", EncodedDelimiter),
            ("/a\\b", Backslash),
            ("/a\\..\\b", Backslash),
            ("/a;v=1/b", Parameter),
            ("/..;/a", Parameter),
            ("/a#b", RawByte),
            ("/a b", RawByte),
            ("/a\0b", RawByte),
            ("/caf\u{e9}", RawByte),
            ("/a%00b", EncodedControl),
            ("/a%0d%0ab", EncodedControl),
            ("/a%7fb", EncodedControl),
            ("/a%", BadEncoding),
            ("/a%2", BadEncoding),
            ("/a%zz", BadEncoding),
            ("/a%u002f", BadEncoding),
            ("/%c0%af", NotUtf8),
            ("/%c0%ae%c0%ae/", NotUtf8),
            ("/%ff", NotUtf8),
        ] {
            assert_eq!(NormalPath::of(raw), Err(ambiguity), "{raw}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        assert_eq!(NormalPath::of(&long), Err(TooLong));
    }

    #[test]
    fn below_is_by_whole_segments() {
        let path = |raw| NormalPath::of(raw).unwrap();
        assert!(path("/admin").is_at_or_below(&path("/admin")));
        assert!(path("/admin/users").is_at_or_below(&path("/admin/")));
        assert!(!path("/administrator").is_at_or_below(&path("/admin")));
        assert!(path("/x").is_at_or_below(&path("/")));
        assert!(!path("/").is_at_or_below(&path("/admin")));
    }
}
