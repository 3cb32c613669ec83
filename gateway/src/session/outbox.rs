//! What waits to be written to one client: bounded in bytes, cut at once when the session ends.

use std::collections::VecDeque;

use bytes::Bytes;

/// Frames ready for the wire, oldest first. An idle outbox owns no heap.
///
/// Bound: [`Outbox::push`] answers [`Full`] when more than `limit` bytes would wait; the caller closes the slow
/// consumer. Nothing is ever dropped in silence.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    /// Bytes of the first frame that are written already.
    written: usize,
    /// Bytes that wait, all frames together.
    waiting: usize,
    /// Nothing is taken any more.
    cut: bool,
}

/// More bytes would wait than the client is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Capacity above which the queue's memory is given back when it runs empty.
const KEEP_FRAMES: usize = 8;

impl Outbox {
    /// Appends a frame. After [`Outbox::cut`] frames vanish: the session has ended.
    ///
    /// # Errors
    /// [`Full`], and the frame is not queued.
    pub fn push(&mut self, frame: Bytes, limit: usize) -> Result<(), Full> {
        if self.cut {
            return Ok(());
        }
        if self.waiting + frame.len() > limit {
            return Err(Full);
        }
        self.waiting += frame.len();
        self.frames.push_back(frame);
        Ok(())
    }

    /// The session has ended: what no byte was written of is dropped, `last` goes out behind the frame that is half
    /// written, and nothing is taken any more.
    pub fn cut(&mut self, last: impl IntoIterator<Item = Bytes>) {
        if !self.cut {
            self.frames.truncate(usize::from(self.written > 0));
            self.seal(last);
        }
    }

    /// The session has ended: what waits still goes out, then `last`, and nothing is taken any more.
    pub fn seal(&mut self, last: impl IntoIterator<Item = Bytes>) {
        if !self.cut {
            self.cut = true;
            self.frames.extend(last);
            self.waiting = self.frames.iter().map(Bytes::len).sum::<usize>() - self.written;
        }
    }

    /// As [`Outbox::cut`], where it was sealed before: what was sealed in is dropped too, unless nothing waits.
    pub fn recut(&mut self, last: Bytes) {
        if self.waiting > 0 {
            self.cut = false;
            self.cut([last]);
        }
    }

    /// Bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The next bytes to write: the first frame alone when it is large or alone, otherwise as many as fit into
    /// `scratch`, so that a burst costs one system call.
    pub fn next_write<'a>(&'a self, scratch: &'a mut Vec<u8>, most: usize) -> &'a [u8] {
        let Some(first) = self.frames.front() else { return &[] };
        let rest = first.get(self.written..).unwrap_or_default();
        if self.frames.len() == 1 || rest.len() >= most {
            return rest;
        }
        scratch.clear();
        scratch.extend_from_slice(rest);
        for frame in self.frames.iter().skip(1) {
            if scratch.len() + frame.len() > most {
                break;
            }
            scratch.extend_from_slice(frame);
        }
        scratch
    }

    /// Gives back the queue's memory where nothing waits. For outboxes that have been idle for a while: a busy one asks
    /// for it again at once.
    pub fn slim(&mut self) {
        if self.frames.is_empty() && self.frames.capacity() > 0 {
            self.frames = VecDeque::new();
        }
    }

    /// `n` bytes of [`Outbox::next_write`] went out.
    pub fn advance(&mut self, n: usize) {
        self.waiting = self.waiting.saturating_sub(n);
        self.written += n;
        while let Some(first) = self.frames.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.frames.pop_front();
        }
        self.written = 0;
        if self.frames.capacity() > KEEP_FRAMES {
            self.frames = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        while !outbox.is_empty() {
            let next = outbox.next_write(&mut scratch, 64);
            let n = next.len().min(step);
            out.extend_from_slice(&next[..n]);
            outbox.advance(n);
        }
        out
    }

    #[test]
    fn an_idle_outbox_owns_no_heap() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"x"), 10).unwrap();
        outbox.slim();
        assert_eq!(drain(&mut outbox, 9), b"x", "what waits is kept");
        outbox.slim();
        assert_eq!(outbox.frames.capacity(), 0);
    }

    #[test]
    fn a_sealed_outbox_that_is_cut_again_drops_what_was_sealed_in() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"abcdef"), 100).unwrap();
        outbox.push(Bytes::from_static(b"secret"), 100).unwrap();
        outbox.seal([Bytes::from_static(b"close 1")]);
        outbox.advance(2);
        outbox.recut(Bytes::from_static(b"close 2"));
        assert_eq!(drain(&mut outbox, 3), b"cdefclose 2");
        outbox.recut(Bytes::from_static(b"close 3"));
        assert!(outbox.is_empty(), "nothing waited");
    }

    #[test]
    fn frames_leave_in_order_however_the_kernel_takes_them() {
        for step in [1, 3, 7, 64, 1_000] {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for n in 0..40u8 {
                let frame = vec![n; usize::from(n) * 3 + 1];
                expected.extend_from_slice(&frame);
                outbox.push(frame.into(), 1 << 20).unwrap();
            }
            assert_eq!(drain(&mut outbox, step), expected);
            assert_eq!(outbox.waiting(), 0);
            assert_eq!(outbox.frames.capacity(), 0, "an idle outbox owns no heap");
        }
    }

    #[test]
    fn the_bound_is_in_bytes_and_exact() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(&[0; 10]), 15).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(&[0; 6]), 15), Err(Full));
        outbox.push(Bytes::from_static(&[0; 5]), 15).unwrap();
        assert_eq!(outbox.waiting(), 15);
    }

    #[test]
    fn a_cut_keeps_the_half_written_frame_whole_and_drops_the_rest() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"half"), 100).unwrap();
        outbox.push(Bytes::from_static(b"never"), 100).unwrap();
        outbox.advance(2);
        outbox.cut([Bytes::from_static(b"CLOSE")]);
        outbox.push(Bytes::from_static(b"late"), 100).unwrap();
        assert_eq!(drain(&mut outbox, 100), b"lfCLOSE");
    }

    #[test]
    fn a_cut_of_whole_frames_leaves_only_the_close() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"never"), 100).unwrap();
        outbox.cut([Bytes::from_static(b"CLOSE")]);
        assert_eq!(drain(&mut outbox, 100), b"CLOSE");
    }

    #[test]
    fn a_sealed_outbox_sends_what_waits_and_takes_nothing_more() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"first"), 100).unwrap();
        outbox.seal([Bytes::from_static(b"CLOSE")]);
        outbox.push(Bytes::from_static(b"late"), 100).unwrap();
        outbox.cut([Bytes::from_static(b"again")]);
        assert_eq!(drain(&mut outbox, 100), b"firstCLOSE");
    }
}
