use grantry_store::StoreError;

/// Why the store cannot be opened, and what to do about it. `server` is host, port and database; never a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("[store] url {0}")]
    Url(String),

    #[error("{option} is {found}; it must be {wanted}")]
    Option { option: &'static str, found: String, wanted: String },

    #[error("{path} (named by {parameter} in [store] url) cannot be used: {why}")]
    Certificate { parameter: &'static str, path: String, why: String },

    #[error(
        "PostgreSQL at {server} cannot be reached: {message}; check [store] url, and that the server runs and lets this \
         user in"
    )]
    Unreachable { server: String, message: String },

    #[error("PostgreSQL at {server} is version {found}; grantry needs {needed} or newer")]
    TooOld { server: String, found: String, needed: u32 },

    #[error(
        "the schema at {server} was written by a newer version of grantry: it has version {found}, this one knows up to \
         {known}, and it does not work with versions of grantry before the one that wrote it; run the newer version"
    )]
    NewerSchema { server: String, found: usize, known: usize },

    #[error(
        "the database at {server} has tables of another program ({table}); give grantry a database or a schema of its own"
    )]
    AnotherProgram { server: String, table: String },

    #[error("the schema at {server} cannot be brought up to date: migration {migration}: {source}")]
    Migration { server: String, migration: usize, source: StoreError },

    #[error("the store at {server} cannot be opened: {source}")]
    Store { server: String, source: StoreError },
}
