use std::io::Write as _;

use bytes::Bytes;
use form_urlencoded::byte_serialize;

use crate::failure::Failure;

/// Stands for the unique number in a value.
const PLACEHOLDER: &str = "{n}";

/// A form whose values may hold `{n}`: encoded once, so that a request costs one copy.
#[derive(Debug, Clone)]
pub struct Form {
    /// The encoded text between one number and the next; always at least one.
    pieces: Vec<Vec<u8>>,
}

impl Form {
    pub fn new() -> Self {
        Self { pieces: vec![Vec::new()] }
    }

    /// Appends a parameter whose value is taken as it is.
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_name(name);
        self.push_text(value);
    }

    /// Appends a parameter in whose value every `{n}` will be the number.
    pub fn push_numbered(&mut self, name: &str, value: &str) {
        self.push_name(name);
        for (index, text) in value.split(PLACEHOLDER).enumerate() {
            if index > 0 {
                self.pieces.push(Vec::new());
            }
            self.push_text(text);
        }
    }

    pub fn is_numbered(&self) -> bool {
        self.pieces.len() > 1
    }

    /// Numbers have 16 digits, so that every body has the same length.
    pub fn render(&self, number: u64) -> Bytes {
        let length = self.pieces.iter().map(Vec::len).sum::<usize>() + 16 * (self.pieces.len() - 1);
        let mut body = Vec::with_capacity(length);
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                // Writing to a Vec cannot fail.
                let _ = write!(body, "{number:016}");
            }
            body.extend_from_slice(piece);
        }
        body.into()
    }

    fn push_name(&mut self, name: &str) {
        if self.is_numbered() || !self.last().is_empty() {
            self.last().push(b'&');
        }
        self.push_text(name);
        self.last().push(b'=');
    }

    fn push_text(&mut self, text: &str) {
        let last = self.last();
        byte_serialize(text.as_bytes()).for_each(|encoded| last.extend_from_slice(encoded.as_bytes()));
    }

    fn last(&mut self) -> &mut Vec<u8> {
        if self.pieces.is_empty() {
            self.pieces.push(Vec::new());
        }
        let end = self.pieces.len() - 1;
        &mut self.pieces[end]
    }
}

/// `--param name=value`.
#[derive(Debug, Clone)]
pub struct Param {
    pub name: String,
    pub value: String,
}

impl std::str::FromStr for Param {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(Failure::new("a parameter is NAME=VALUE, as in 'resource=https://bench.example/{n}'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_form_differs_only_in_the_number() {
        let mut form = Form::new();
        form.push("grant_type", "client_credentials");
        form.push_numbered("resource", "https://bench.example/{n}?x={n}");
        form.push("scope", "read write");
        assert_eq!(
            form.render(7),
            "grant_type=client_credentials&resource=https%3A%2F%2Fbench.example%2F0000000000000007\
             %3Fx%3D0000000000000007&scope=read+write"
        );
        assert_eq!(form.render(7).len(), form.render(1_760_000_000_000_000).len());
    }

    #[test]
    fn a_value_that_begins_with_the_number_keeps_its_separators() {
        let mut form = Form::new();
        form.push_numbered("a", "{n}");
        form.push("b", "{n}");
        assert_eq!(form.render(1), "a=0000000000000001&b=%7Bn%7D");
    }

    #[test]
    fn a_form_without_a_number_is_always_the_same() {
        let mut form = Form::new();
        form.push("a", "b");
        assert!(!form.is_numbered());
        assert_eq!(form.render(1), form.render(2));
    }

    #[test]
    fn a_param_needs_a_name() {
        assert!("=x".parse::<Param>().is_err() && "x".parse::<Param>().is_err());
        assert_eq!("a=b=c".parse::<Param>().unwrap().value, "b=c");
    }
}
