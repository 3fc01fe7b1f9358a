use zeroize::Zeroizing;

/// Text that must not be logged: it has no `Debug` and no `Display`, and is overwritten when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself; every call is a place to check that it goes nowhere it should not.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
