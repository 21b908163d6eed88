//! Stage 3: samples as lines of JSON in one file.
//!
//! A line holds one sample: `{"timestamp":1000,"value":"0.5","labels":{"__name__":"cpu","core":"0"}}`.
//!
//! What is wrong with it: a sample costs more than a hundred bytes and its labels are written again each time;
//! whoever asks for one minute of one series reads the whole file, and parses every series of that minute; nothing
//! is ever deleted.

use crate::json::{self, Value};
use contracts::{
    BatchView, Labels, Matcher, TimestampMs,
    query::{format_value, parse_value},
    storage::{Select, SelectStats, SeriesReader, SeriesWriter, StorageError, Visit},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// What every line begins with.
const LINE_START: &str = "{\"timestamp\":";
/// Before the bits of an uncommon NaN, in hexadecimal.
const NAN_BITS: &str = "NaN:";

/// One file of JSON lines.
pub struct JsonLines {
    path: PathBuf,
    /// `None` once a write or a sync has failed: what is on disk is not known then.
    file: Mutex<Option<File>>,
}

impl JsonLines {
    /// Opens or makes the file. A last line that a crash cut short is removed.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).append(true).open(path)?;
        // Two writers would cut each other's lines.
        file.try_lock()
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "in use by another process"))?;
        refuse_strange(&mut file)?;
        let whole = whole_lines_bytes(&mut file)?;
        if whole < file.metadata()?.len() {
            file.set_len(whole)?;
            let _ = writeln!(
                io::stderr(),
                "{}: removed a line that was cut short, at byte {whole}",
                path.display()
            );
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(Some(file)) })
    }

    fn with_file(&self, act: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StorageError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let gone =
            || StorageError::Failed(format!("{} failed before; restart to go on", self.path.display()));
        let result = act(file.as_mut().ok_or_else(gone)?);
        result.map_err(|e| {
            *file = None;
            self.failed(&e)
        })
    }

    fn failed(&self, error: &io::Error) -> StorageError {
        StorageError::Failed(format!("{}: {error}", self.path.display()))
    }
}

impl SeriesWriter for JsonLines {
    fn write(&self, batch: &BatchView<'_>) -> Result<(), StorageError> {
        let mut lines = String::new();
        for sample in batch.samples() {
            let labels: Vec<_> = batch
                .labels(sample.series)
                .iter()
                .map(|(name, value)| format!("{}:{}", json::quote(name), json::quote(value)))
                .collect();
            let (at, value) = (sample.timestamp.0, value_text(sample.value));
            lines += &format!(
                "{{\"timestamp\":{at},\"value\":\"{value}\",\"labels\":{{{}}}}}\n",
                labels.join(",")
            );
        }
        self.with_file(|file| file.write_all(lines.as_bytes()))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.with_file(|file| file.sync_data())
    }
}

impl SeriesReader for JsonLines {
    fn select(&self, select: &Select, visit: &mut Visit<'_>) -> Result<SelectStats, StorageError> {
        let mut found = BTreeMap::<Labels, BTreeMap<i64, f64>>::new();
        let mut samples = 0;
        let file = File::open(&self.path).map_err(|e| self.failed(&e))?;
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            lines.read_until(b'\n', &mut line).map_err(|e| self.failed(&e))?;
            // No line feed: the end, or a line that is being written just now.
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let text = str::from_utf8(text).unwrap_or_default(); // which is no sample, and said so below
            // The one mercy: a line that begins with another time is not taken apart.
            if leading_timestamp(text).is_some_and(|t| !select.range.contains(t)) {
                continue;
            }
            let (labels, timestamp, value) = parse_line(text).ok_or_else(|| {
                StorageError::Failed(format!(
                    "{}, line {number}: not a sample; remove it to go on",
                    self.path.display()
                ))
            })?;
            if !select.range.contains(timestamp) || !Matcher::all_match(&select.matchers, labels.view()) {
                continue;
            }
            samples += u64::from(found.entry(labels).or_default().insert(timestamp.0, value).is_none());
            if samples > select.samples_max as u64 {
                return Err(StorageError::TooManySamples(select.samples_max));
            }
        }
        let mut stats = SelectStats::default();
        for (labels, points) in found {
            let (timestamps, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
            stats.series += 1;
            stats.samples += values.len() as u64;
            if let ControlFlow::Break(()) = visit(labels.view(), &timestamps, &values) {
                break;
            }
        }
        Ok(stats)
    }
}

/// The time that a line begins with, as we write it.
fn leading_timestamp(line: &str) -> Option<TimestampMs> {
    let (digits, _) = line.strip_prefix(LINE_START)?.split_once(',')?;
    digits.parse().ok().map(TimestampMs)
}

fn parse_line(text: &str) -> Option<(Labels, TimestampMs, f64)> {
    let line = json::parse(text.as_bytes()).ok().filter(Value::is_object)?;
    let labels = line.find("labels").filter(Value::is_object)?;
    let pairs: Option<Vec<_>> =
        labels.members().into_iter().map(|(name, value)| Some((name.as_text()?, value.as_text()?))).collect();
    let labels = Labels::new(pairs?.iter().map(|(name, value)| (name.as_str(), value.as_str()))).ok()?;
    let text = line.find("value")?.as_text()?;
    let value = match text.strip_prefix(NAN_BITS) {
        Some(bits) => f64::from_bits(u64::from_str_radix(bits, 16).ok()?),
        None => parse_value(&text)?,
    };
    Some((labels, TimestampMs(line.find("timestamp")?.raw().parse().ok()?), value))
}

/// As Prometheus writes values; a NaN that is not the common one with its bits, since some mean something.
fn value_text(value: f64) -> String {
    if value.is_nan() && value.to_bits() != f64::NAN.to_bits() {
        return format!("{NAN_BITS}{:016x}", value.to_bits());
    }
    format_value(value)
}

/// Somebody else's file is not ours to cut.
fn refuse_strange(file: &mut File) -> io::Result<()> {
    let mut start = Vec::new();
    Read::by_ref(file).take(LINE_START.len() as u64).read_to_end(&mut start)?;
    if LINE_START.as_bytes().starts_with(&start) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it holds something else than samples"))
}

/// Bytes up to and with the last line feed, found from the end.
fn whole_lines_bytes(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        piece.clear();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|b| *b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{Batch, TimeRange};

    fn count(storage: &JsonLines) -> Result<u64, StorageError> {
        let select = Select::new(Vec::new(), TimeRange::ALL);
        storage.select(&select, &mut |_, _, _| ControlFlow::Continue(())).map(|stats| stats.samples)
    }

    fn write_two(storage: &JsonLines) {
        let mut batch = Batch::new();
        let series = batch.series([("__name__", "cpu")]).unwrap();
        batch.push(series, TimestampMs(1), 1.0).unwrap();
        batch.push(series, TimestampMs(2), 2.0).unwrap();
        storage.write(&BatchView::parse(&batch.encode()).unwrap()).unwrap();
    }

    #[test]
    fn a_line_cut_short_at_any_byte_is_removed_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        write_two(&JsonLines::open(&path).unwrap());
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let storage = JsonLines::open(&path).unwrap();
            let kept = whole[..cut].iter().filter(|b| **b == b'\n').count() as u64;
            assert_eq!(count(&storage), Ok(kept), "cut at byte {cut}");
            write_two(&storage);
            assert_eq!(count(&storage), Ok(2));
        }
    }

    #[test]
    fn a_second_writer_and_a_strange_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let first = JsonLines::open(&path).unwrap();
        assert!(JsonLines::open(&path).map(drop).unwrap_err().to_string().contains("another process"));
        drop(first);
        std::fs::write(&path, "dear diary").unwrap();
        assert!(JsonLines::open(&path).map(drop).unwrap_err().to_string().contains("something else"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear diary");
    }

    #[test]
    fn a_character_that_is_being_written_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let storage = JsonLines::open(&path).unwrap();
        write_two(&storage);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"timestamp\":1,\"a\":\"\xc3")
            .unwrap();
        assert_eq!(count(&storage), Ok(2));
    }

    #[test]
    fn a_damaged_line_is_named_rather_than_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        write_two(&JsonLines::open(&path).unwrap());
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"2\"", "\"two\"", 1);
        std::fs::write(&path, text).unwrap();
        let message = count(&JsonLines::open(&path).unwrap()).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_and_nothing_more_is_accepted() {
        let storage = JsonLines {
            path: "/dev/full".into(),
            file: Mutex::new(Some(File::options().write(true).open("/dev/full").unwrap())),
        };
        let mut batch = Batch::new();
        let series = batch.series([("__name__", "cpu")]).unwrap();
        batch.push(series, TimestampMs(1), 1.0).unwrap();
        let bytes = batch.encode();
        let view = BatchView::parse(&bytes).unwrap();
        assert!(storage.write(&view).unwrap_err().to_string().contains("No space left"));
        assert!(storage.write(&view).unwrap_err().to_string().contains("failed before"));
    }
}
