//! Our payload types over a dialog: a number never changes its meaning (RFC 3264 section 8.3.2).

use super::encoding::Encoding;
use crate::rtp::PayloadType;

/// What each number of ours has meant so far.
#[derive(Debug, Clone, Default)]
pub(super) struct PayloadNumbers {
    /// At most one entry per number, in the order of use.
    bound: Vec<(PayloadType, Encoding)>,
}

impl PayloadNumbers {
    /// Our number for `encoding`: `wanted` (the far end's) if that means nothing else yet, else what it was before,
    /// else a free one. None: all are taken.
    pub(super) fn bind(
        &mut self,
        encoding: Encoding,
        wanted: Option<PayloadType>,
    ) -> Option<PayloadType> {
        let mirrored = wanted.filter(|number| self.may_mean(*number, encoding));
        let number = mirrored
            .or_else(|| self.last(encoding))
            .or_else(|| self.free(encoding))?;
        // The one in use is the last.
        self.bound.retain(|(bound, _)| *bound != number);
        self.bound.push((number, encoding));
        Some(number)
    }

    fn meaning(&self, number: PayloadType) -> Option<Encoding> {
        let mut bound = self.bound.iter();
        bound
            .find(|(bound, _)| *bound == number)
            .map(|(_, encoding)| *encoding)
    }

    fn may_mean(&self, number: PayloadType, encoding: Encoding) -> bool {
        self.meaning(number)
            .is_none_or(|meaning| meaning == encoding)
    }

    fn last(&self, encoding: Encoding) -> Option<PayloadType> {
        let mut bound = self.bound.iter().rev();
        bound
            .find(|(_, meaning)| *meaning == encoding)
            .map(|(number, _)| *number)
    }

    /// The customary number, else a dynamic one (RFC 3551 section 3), never one that muxed RTCP would hide (RFC 5761).
    fn free(&self, encoding: Encoding) -> Option<PayloadType> {
        let customary = encoding.customary_payload_type();
        let dynamic = (96..=127).chain(35..=63).map(PayloadType);
        std::iter::once(customary)
            .chain(dynamic)
            .find(|number| self.meaning(*number).is_none())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use codecs::SampleRate;

    use super::*;
    use crate::bridge::Codec;

    const OPUS: Encoding = Encoding::Audio(Codec::Opus);
    const L16: Encoding = Encoding::Audio(Codec::L16(SampleRate::Hz16000));

    #[test]
    fn a_number_keeps_its_meaning() {
        let mut numbers = PayloadNumbers::default();
        assert_eq!(numbers.bind(OPUS, None), Some(PayloadType(111)));
        // Theirs is taken, so it is ours again.
        assert_eq!(
            numbers.bind(L16, Some(PayloadType(111))),
            Some(PayloadType(112))
        );
        assert_eq!(
            numbers.bind(OPUS, Some(PayloadType(96))),
            Some(PayloadType(96))
        );
        assert_eq!(numbers.bind(OPUS, None), Some(PayloadType(96)));
        assert_eq!(
            numbers.bind(L16, Some(PayloadType(111))),
            Some(PayloadType(112))
        );
    }

    #[test]
    fn numbers_may_run_out() {
        let mut numbers = PayloadNumbers::default();
        for number in 0..128 {
            assert_eq!(
                numbers.bind(OPUS, Some(PayloadType(number))),
                Some(PayloadType(number))
            );
        }
        assert_eq!(numbers.bind(L16, Some(PayloadType(1))), None);
        assert_eq!(numbers.bind(OPUS, None), Some(PayloadType(127)));
    }
}
