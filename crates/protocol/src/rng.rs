/// A source of unpredictable bytes, handed in so that tests and the simulator can seed it. What the server hands in
/// must be cryptographically secure.
pub trait Rng: Send + Sync + 'static {
    fn fill(&self, dest: &mut [u8]);
}
