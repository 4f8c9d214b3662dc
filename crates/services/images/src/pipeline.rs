//! One blob through several stages, each on its own thread, over a ring of buffers that are used again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::error::ImageError;
use crate::ports::BlobReader;
use crate::progress::Progress;

/// What happens to each piece of a blob; may change the bytes and their number.
pub(crate) type Stage<'a> = Box<dyn FnMut(&mut Vec<u8>) -> Result<(), ImageError> + Send + 'a>;

/// What all blobs of one run share.
pub(crate) struct Run<'a> {
    pub(crate) progress: &'a dyn Progress,
    /// Set when any of them failed: the others need not go on.
    pub(crate) stop: AtomicBool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(progress: &'a dyn Progress) -> Self {
        Self {
            progress,
            stop: AtomicBool::new(false),
        }
    }

    /// Carries all that `reader` gives through `stages`, in order. Memory is bounded by the ring.
    pub(crate) fn carry<'s>(
        &self,
        mut reader: Box<dyn BlobReader + 's>,
        stages: Vec<Stage<'s>>,
    ) -> Result<(), ImageError> {
        let (free, empties) = channel();
        for _ in 0..BUFFERS {
            let _ = free.send(Vec::with_capacity(BUFFER));
        }
        thread::scope(|scope| {
            let (first, mut filled) = channel();
            let mut threads = vec![scope.spawn(move || self.read(&mut *reader, &empties, &first))];
            for stage in stages {
                let (next, passed) = channel();
                let before = std::mem::replace(&mut filled, passed);
                threads.push(scope.spawn(move || through(stage, &before, &next)));
            }
            // The buffers go back to the reader; the loop ends when the last stage does.
            for buffer in filled {
                let _ = free.send(buffer);
            }
            drop(free);
            verdict(
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or(Err(ImageError::Interrupted))),
            )
        })
    }

    fn read(
        &self,
        reader: &mut dyn BlobReader,
        empties: &Receiver<Vec<u8>>,
        filled: &Sender<Vec<u8>>,
    ) -> Result<(), ImageError> {
        while let Ok(mut buffer) = empties.recv() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ImageError::Interrupted);
            }
            if self.progress.cancelled() {
                return Err(ImageError::Cancelled);
            }
            let ended = fill(reader, &mut buffer)?;
            self.progress.advanced(buffer.len() as u64);
            if !buffer.is_empty() && filled.send(buffer).is_err() {
                return Err(ImageError::Interrupted);
            }
            if ended {
                return Ok(());
            }
        }
        Err(ImageError::Interrupted)
    }
}

/// Fills the buffer as far as the stream goes; `true` at its end.
fn fill(reader: &mut dyn BlobReader, buffer: &mut Vec<u8>) -> Result<bool, ImageError> {
    buffer.resize(BUFFER, 0);
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest).map_err(ImageError::Source)? {
            0 => {
                buffer.truncate(length);
                return Ok(true);
            }
            count => length += count,
        }
    }
    Ok(false)
}

fn through(
    mut stage: Stage<'_>,
    before: &Receiver<Vec<u8>>,
    next: &Sender<Vec<u8>>,
) -> Result<(), ImageError> {
    for mut buffer in before {
        stage(&mut buffer)?;
        next.send(buffer).map_err(|_| ImageError::Interrupted)?;
    }
    Ok(())
}

/// The first reason that is one of its own: a stage that lost its neighbour only says that it did.
fn verdict(ends: impl Iterator<Item = Result<(), ImageError>>) -> Result<(), ImageError> {
    let mut verdict = Ok(());
    for end in ends {
        match (&verdict, &end) {
            (_, Ok(())) => {}
            (Ok(()) | Err(ImageError::Interrupted), Err(_)) => verdict = end,
            (Err(_), Err(_)) => {}
        }
    }
    verdict
}

const BUFFER: usize = 512 * 1024;
const BUFFERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::ports::PortError;
    use crate::progress::Silent;

    struct Numbers {
        left: usize,
        fails: bool,
    }

    impl BlobReader for Numbers {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
            let count = self.left.min(buffer.len()).min(100_001);
            if count == 0 && self.fails {
                return Err(PortError::new(
                    Kind::Unavailable,
                    std::io::Error::other("gone"),
                ));
            }
            buffer[..count].fill(1);
            self.left -= count;
            Ok(count)
        }
    }

    fn numbers(left: usize) -> Box<Numbers> {
        Box::new(Numbers { left, fails: false })
    }

    #[test]
    fn all_bytes_pass_all_stages_in_order() {
        for length in [0, 1, BUFFER, BUFFER + 1, 30 * BUFFER + 7] {
            let mut sum = 0_usize;
            let add = |buffer: &mut Vec<u8>| {
                buffer.iter_mut().for_each(|byte| *byte += 1);
                Ok(())
            };
            let count = |buffer: &mut Vec<u8>| {
                sum += buffer.iter().map(|byte| usize::from(*byte)).sum::<usize>();
                Ok(())
            };
            Run::new(&Silent)
                .carry(
                    numbers(length),
                    vec![Box::new(add), Box::new(add), Box::new(count)],
                )
                .unwrap();
            assert_eq!(sum, 3 * length);
        }
    }

    #[test]
    fn the_reason_of_a_failure_arrives() {
        for failing in 0..3 {
            let stages = (0..3).map(|number| -> Stage<'_> {
                let mut seen = 0;
                Box::new(move |_| {
                    seen += 1;
                    if number == failing && seen == 5 {
                        Err(ImageError::NothingToEncrypt)
                    } else {
                        Ok(())
                    }
                })
            });
            let ended = Run::new(&Silent).carry(numbers(100 * BUFFER), stages.collect());
            assert!(
                matches!(ended, Err(ImageError::NothingToEncrypt)),
                "{failing}"
            );
        }
        let reader = Box::new(Numbers {
            left: 3 * BUFFER,
            fails: true,
        });
        let ended = Run::new(&Silent).carry(reader, vec![Box::new(|_| Ok(()))]);
        assert!(matches!(ended, Err(ImageError::Source(_))));
    }

    #[test]
    fn a_stopped_run_ends_early() {
        let run = Run::new(&Silent);
        run.stop.store(true, Ordering::Relaxed);
        assert!(matches!(
            run.carry(numbers(1), vec![]),
            Err(ImageError::Interrupted)
        ));
    }
}
