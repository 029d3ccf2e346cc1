use super::file_reader::Failure;
use super::log::{Log, limited};
use super::object_reader::persistently;
use crate::bucket::{Range, join_all};
use crate::ltx::Header;
use crate::replication::{LogFile, check_name};
use crate::types::{Error, ErrorKind, Result};

/// Headers that are asked for at one time.
const AT_ONCE: usize = 64;

impl Log {
    /// The times that the files' headers tell, in milliseconds since 1970. One request for each file.
    pub(super) async fn timestamps(&self, files: &[LogFile]) -> Result<Vec<(LogFile, i64)>, Failure> {
        let mut dated = Vec::with_capacity(files.len());
        for some in files.chunks(AT_ONCE) {
            for header in join_all(some.iter().map(|file| self.header(*file))).await {
                let (file, header) = header?;
                dated.push((file, header.timestamp_ms));
            }
        }
        Ok(dated)
    }

    async fn header(&self, file: LogFile) -> Result<(LogFile, Header), Failure> {
        let key = self.file_key(&file);
        let range = Range::Part { offset: 0, length: Header::SIZE as u64 };
        let ask = || async {
            let object = limited(self.bucket().get(&key, range)).await?;
            match object {
                Some(cut) if (cut.body.len() as u64) < cut.size.min(Header::SIZE as u64) => {
                    Err(Error::new(ErrorKind::StoreUnavailable, "the answer is cut off"))
                }
                whole => Ok(whole),
            }
        };
        let object = persistently(ask).await.map_err(|error| Failure::Other(error.context(&key)))?;
        let Some(object) = object else {
            return Err(Failure::Gone(
                file,
                Error::corrupt(format!("{key}: it was deleted while it was read")),
            ));
        };
        let damaged = |error: Error| Failure::Damaged(vec![file], error.context(&key));
        let bytes = <[u8; Header::SIZE]>::try_from(&object.body[..])
            .map_err(|_| damaged(Error::corrupt("it is too short for a log file")))?;
        let header = Header::from_bytes(&bytes).map_err(damaged)?;
        check_name(&file, &header).map_err(damaged)?;
        Ok((file, header))
    }
}
