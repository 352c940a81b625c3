//! Bytes in, bytes out: reading with transparent gzip, and writing that survives a kill.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use flate2::read::MultiGzDecoder;

use crate::DataError;

/// No data set that this crate is for is larger once unpacked; a compressed bomb stops here.
const MAX_UNPACKED_BYTES: u64 = 1 << 32;

/// Reads a whole file. A file that starts with the magic number of gzip is unpacked, whatever its name.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Format`] for more than 4 GiB of content.
pub fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let io_error = |source| DataError::Io { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io_error)?;
    let mut magic = Vec::with_capacity(2);
    Read::by_ref(&mut file).take(2).read_to_end(&mut magic).map_err(io_error)?;
    let zipped = magic == [0x1f, 0x8b];
    let whole = io::Cursor::new(magic).chain(file);
    let mut bytes = Vec::new();
    let limit = MAX_UNPACKED_BYTES + 1;
    if zipped {
        MultiGzDecoder::new(whole).take(limit).read_to_end(&mut bytes)
    } else {
        whole.take(limit).read_to_end(&mut bytes)
    }
    .map_err(io_error)?;
    if MAX_UNPACKED_BYTES < bytes.len() as u64 {
        return Err(DataError::Format {
            name: path.display().to_string(),
            problem: format!("more than {MAX_UNPACKED_BYTES} bytes of content"),
        });
    }
    Ok(bytes)
}

/// Writes a file so that a reader sees either the old content or the new, never a part:
/// to a temporary name in the same directory, synced, then renamed over `path`.
///
/// # Errors
/// [`DataError::Io`]; the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let temporary = temporary_name(path);
    let written = write_synced(&temporary, bytes)
        .map_err(|source| ("write", source))
        .and_then(|()| fs::rename(&temporary, path).map_err(|source| ("rename", source)));
    if let Err((action, source)) = written {
        // Whatever stopped the write is the error to report; a left-over file is only untidy.
        let _ = fs::remove_file(&temporary);
        return Err(DataError::Io { action, path: path.to_owned(), source });
    }
    sync_directory(path);
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the rename itself durable where directories can be opened. The content is already safe, so failure is no error.
fn sync_directory(path: &Path) {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}

/// Unique among the threads of this process and among processes that run at the same time.
fn temporary_name(path: &Path) -> PathBuf {
    static N_WRITES: AtomicU64 = AtomicU64::new(0);
    let n = N_WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{n}.tmp", process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read_file(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_says_where_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        let error = write_atomic(&taken, b"x").unwrap_err().to_string();
        assert!(error.starts_with("cannot rename `") && error.contains("taken"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomic(&dir.path().join("missing/file"), b"x").is_err());
    }

    #[test]
    fn gzip_is_seen_by_its_magic_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain.csv");
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(b"1,2,3").unwrap();
        let zipped = zip.finish().unwrap();
        fs::write(&path, &zipped).unwrap();
        assert_eq!(read_file(&path).unwrap(), b"1,2,3");
        fs::write(&path, &zipped[..zipped.len() - 6]).unwrap();
        assert!(read_file(&path).is_err(), "a truncated archive");
        fs::write(&path, b"\x1f").unwrap();
        assert_eq!(read_file(&path).unwrap(), b"\x1f");
    }
}
