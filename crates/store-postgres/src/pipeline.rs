//! Several statements in one round trip.

use crate::errors::{Error, Result};

/// Sends everything at once, in this order, and waits for all answers. Of several errors the one that the others
/// follow from.
macro_rules! pipelined {
    ($($step:expr),+ $(,)?) => {{
        let answers = tokio::join!(biased; $($step),+);
        crate::pipeline::Answers::all(answers)
    }};
}

pub(crate) use pipelined;

pub trait Answers {
    type Values;

    fn all(self) -> Result<Self::Values>;
}

macro_rules! answers {
    ($($value:ident)+) => {
        #[expect(non_snake_case, reason = "a value is called by its type")]
        impl<$($value),+> Answers for ($(Result<$value>,)+) {
            type Values = ($($value,)+);

            fn all(self) -> Result<Self::Values> {
                let ($($value,)+) = self;
                if let Some(error) = cause_of(&[$($value.as_ref().err()),+]) {
                    return Err(error);
                }
                Ok(($($value?,)+))
            }
        }
    };
}

answers!(A B);
answers!(A B C);
answers!(A B C D);
answers!(A B C D E);
answers!(A B C D E F);
answers!(A B C D E F G);
answers!(A B C D E F G H);
answers!(A B C D E F G H I);
answers!(A B C D E F G H I J);
answers!(A B C D E F G H I J K);
answers!(A B C D E F G H I J K L);
answers!(A B C D E F G H I J K L M);

/// What went wrong first; the statements after it failed for no reason of their own.
fn cause_of(errors: &[Option<&Error>]) -> Option<Error> {
    let mut errors = errors.iter().copied().flatten();
    let first = errors.next()?;
    let cause = if first.is_aftermath() { errors.find(|error| !error.is_aftermath()) } else { None };
    Some(cause.unwrap_or(first).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Cause;

    #[test]
    fn the_error_that_the_others_follow_from_is_told() {
        let error = |cause| Error::new(cause, "for the test");
        let answers: (Result<u8>, Result<u8>, Result<u8>) =
            (Ok(1), Err(error(Cause::Conflict)), Err(error(Cause::Aborted)));
        assert_eq!(answers.all(), Err(error(Cause::Conflict)));
        let answers: (Result<u8>, Result<u8>) = (Err(error(Cause::Aborted)), Err(error(Cause::Busy)));
        assert_eq!(answers.all(), Err(error(Cause::Busy)));
        let answers: (Result<u8>, Result<u8>) = (Ok(1), Ok(2));
        assert_eq!(answers.all(), Ok((1, 2)));
    }
}
