//! Text that a command line names: a file, a pipe, or `-`, which is standard input; read whole, within a bound.
//!
//! What can be read only once is told apart here; what follows from that is decided by who reads.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

const STDIN: &str = "-";

/// What it is called in problems.
pub(crate) fn name(path: &Path) -> String {
    if path == Path::new(STDIN) {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Whether a second look would not find what the first one found: of pipes, and of what this process inherited, which
/// keeps its file when another takes that one's name.
pub(crate) fn is_read_once(path: &Path) -> bool {
    let inherited = ["/dev/stdin", "/dev/fd", "/proc"];
    let is_special = || fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    path == Path::new(STDIN) || inherited.iter().any(|name| path.starts_with(name)) || is_special()
}

/// Refuses what can be read only once where it would be read again: the second look waits for ever, or finds nothing.
///
/// # Errors
/// It is no file.
pub(crate) fn must_last(path: &Path) -> anyhow::Result<()> {
    let name = name(path);
    anyhow::ensure!(
        !is_read_once(path),
        "{name} is no file, and it is read again and again"
    );
    Ok(())
}

/// All of it.
///
/// # Errors
/// It cannot be read, is not UTF-8, or is larger than the bound.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read_bytes(path, bytes_max)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// The same of what need not be text.
///
/// # Errors
/// It cannot be read, or is larger than the bound.
pub(crate) fn read_bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let from: Box<dyn Read> = if path == Path::new(STDIN) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path)?)
    };
    from.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let problem = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "four").unwrap();
        assert_eq!(read(&file, 4).unwrap(), "four");
        assert_eq!(read(&file, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_is_no_file_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        assert!(!is_read_once(&file), "it may come yet");
        fs::write(&file, "").unwrap();
        assert!(!is_read_once(&file) && !is_read_once(dir.path()));
        for inherited in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
            assert!(is_read_once(Path::new(inherited)), "{inherited}");
        }
        let pipe = dir.path().join("pipe");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, 0o600.into(), 0).unwrap();
        assert!(is_read_once(&pipe));
    }
}
