//! The log in a file: appended to, and opened again by name when told so, as log rotation wants it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

/// A file that may be renamed under our hands.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
    /// Between two batches: a line is never torn between two files.
    between: bool,
}

impl LogFile {
    /// Opens it; whoever sets `reopen` has it opened again before the next lines.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: PathBuf, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        Ok(Self {
            file: append(&path)?,
            path,
            reopen,
            between: true,
        })
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.between && self.reopen.swap(false, Ordering::Relaxed) {
            match append(&self.path) {
                Ok(file) => self.file = file,
                Err(error) => {
                    warn!(file = %self.path.display(), error = &error as &dyn std::error::Error, "failed to open the log again, the old file goes on");
                }
            }
        }
        self.between = false;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.between = true;
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_left_between_two_batches_and_never_within_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut log = LogFile::open(path.clone(), Arc::clone(&reopen)).unwrap();
        log.write_all(b"one ").unwrap();
        std::fs::rename(&path, &old).unwrap();
        reopen.store(true, Ordering::Relaxed);
        log.write_all(b"line\n").unwrap();
        log.flush().unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one line\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }
}
