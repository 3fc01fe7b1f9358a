//! A status list as bytes, with one bit for each token, and as the text that stands in a signed list
//! (draft-ietf-oauth-status-list §4).

use grantry_jose::base64url;
use miniz_oxide::deflate::compress_to_vec_zlib;

/// The best that there is: a list is made once and read many times.
const COMPRESSION: u8 = 10;

/// A list of `size` tokens of which those at the given places are INVALID: §4.1, the first of a byte in its lowest bit.
pub fn packed(size: u32, invalid: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut bytes = vec![0; size.div_ceil(8) as usize];
    for place in invalid {
        if let Some(byte) = bytes.get_mut((place / 8) as usize) {
            *byte |= 1 << (place % 8);
        }
    }
    bytes
}

/// The `lst` of §4.2.
pub fn lst(bytes: &[u8]) -> String {
    base64url(compress_to_vec_zlib(bytes, COMPRESSION))
}

#[cfg(test)]
mod tests {
    use grantry_jose::from_base64url;
    use miniz_oxide::inflate::decompress_to_vec_zlib;

    use super::*;

    /// Appendix C.1, in a list of 2^20.
    const LARGE: &str = "eNrt3AENwCAMAEGogklACtKQPg9LugC9k_ACvreiogE\
                         AAKkeCQAAAAAAAAAAAAAAAAAAAIBylgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
                         AAAAAAAAAAAAAAAAAAAXG9IAAAAAAAAAPwsJAAAAAAAAAAAAAAAvhsSAAAAAAAAAAA\
                         A7KpLAAAAAAAAAAAAAAAAAAAAAJsLCQAAAAAAAAAAADjelAAAAAAAAAAAKjDMAQAAA\
                         ACAZC8L2AEb";
    const LARGE_INVALID: [u32; 11] =
        [0, 1993, 25_460, 159_495, 495_669, 554_353, 645_645, 723_232, 854_545, 934_534, 1_000_345];

    fn inflated(lst: &str) -> Vec<u8> {
        decompress_to_vec_zlib(&from_base64url(lst).unwrap()).unwrap()
    }

    #[test]
    fn the_drafts_short_list_comes_out_byte_for_byte() {
        let bytes = packed(16, [0, 3, 4, 5, 7, 8, 9, 13, 15]);
        assert_eq!(bytes, [0xb9, 0xa3]);
        assert_eq!(lst(&bytes), "eNrbuRgAAhcBXQ");
    }

    #[test]
    fn the_drafts_long_list_is_the_same_when_it_is_inflated() {
        let bytes = packed(1 << 20, LARGE_INVALID);
        assert!(inflated(LARGE) == bytes);
        let own = lst(&bytes);
        assert!(inflated(&own) == bytes);
        // How a list is compressed is left to who makes it; ours is not to be longer by much.
        assert!(own.len() <= LARGE.len() * 11 / 10, "{} of {}", own.len(), LARGE.len());
    }

    #[test]
    fn a_place_beyond_the_end_is_nobodys() {
        assert_eq!(packed(16, [16, u32::MAX]), [0, 0]);
    }
}
