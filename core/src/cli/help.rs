//! What stands below the options in `--help`. The tests run every example.

pub(super) const ALL: &str = "\
Examples:
  haqlite info s3://my-bucket --name my
  haqlite restore s3://my-bucket --name my -o copy.db
  HAQLITE_STORAGE_URL=s3://my-bucket haqlite verify --name my --json

Exit codes:
  0  done
  1  failed: the disk, a broken pipe, an error of haqlite itself
  2  the arguments or the configuration make no sense
  3  the log is damaged
  4  there is no such log, slot or moment
  5  the bucket does not answer: try again
  6  the bucket refuses the key, or there is none
  7  in the way: the file exists, is open elsewhere, or is another database

An error is one line on the standard error. With --json the standard output has
  {\"error\": {\"kind\", \"reason\", \"hint\", \"exit_code\"}}
as its last line. The kinds are those of the library, and \"Usage\".

Keys for S3 are taken as the AWS tools take them, from the environment, a profile or the machine, and never printed.";

pub(super) const RESTORE: &str = "\
Examples:
  haqlite restore s3://my-bucket --name my -o copy.db
  haqlite restore s3://my-bucket -o my.db
  haqlite restore s3://my-bucket --name my -o then.db --txid 2
  haqlite restore s3://my-bucket --name my -o then.db --timestamp 2099-01-01T00:00:00Z --force
  haqlite restore s3://my-bucket/haqlite/my --bare -o bare.db --check full

Without --name the log is that of the file's stem: my.db is restored from my. Every file is checked, then the
database; it is on the disk before it gets its name. A moment is that at which the leader captured the commits.
With --last-good the exit code is 3 if damage ended it early, and the file is there all the same.

JSON: {\"path\", \"txid\", \"epoch\", \"timestamp\", \"pages\", \"files\", \"bytes\", \"written_by_another_tool\",
\"damaged\": [{\"key\", \"reason\"}]: objects that others could stand in for, \"left_out\": why it ended early, or null}";

pub(super) const LIST: &str = "\
Examples:
  haqlite list s3://my-bucket --name my
  haqlite list s3://my-bucket --name my --level 0 --json

JSON: {\"log\", \"files\": [{\"level\", \"min\", \"max\", \"bytes\", \"modified\"}]}";

pub(super) const INFO: &str = "\
Examples:
  haqlite info s3://my-bucket --name my
  haqlite info s3://my-bucket/haqlite/my --bare --json

It reads names, small objects and a few headers. If those show damage, it is told, and the exit code is 3.

JSON: {\"log\", \"database\", \"page_size\", \"oldest\": {\"txid\", \"timestamp\"}, \"newest\", \"epochs\": [{\"epoch\", \"first\"}],
\"floor\", \"lease\": {\"holder\", \"address\", \"epoch\", \"ttl_ms\", \"released\"}, \"bytes\",
\"levels\": [{\"level\", \"files\", \"bytes\", \"min\", \"max\"}], \"snapshot\": {a file, as in list}, \"damage\"}; what does not
exist is null.";

pub(super) const VERIFY: &str = "\
Examples:
  haqlite verify s3://my-bucket --name my
  haqlite verify s3://my-bucket --name my --restore-in . --json

It reads all, writes nothing to the bucket, and does not mind a node that writes meanwhile. Exit code 3 if anything is
damaged.

JSON: {\"log\", \"txid\", \"epoch\", \"slots\", \"compactions\", \"snapshots\", \"bytes\", \"restored\",
\"problems\": [{\"key\", \"reason\"}], \"unexplained\": [key]}: unexplained objects do no harm";

pub(super) const SNAPSHOT: &str = "\
Examples:
  haqlite snapshot s3://my-bucket --name my

It is made from the log alone, and nothing is deleted. No node is needed, and none is disturbed. The key must be one
that may write. The file is built in the folder for temporary files (TMPDIR).

JSON: {\"log\", \"made\": {a file, as in list}, or null if nothing was added since the newest snapshot}";

pub(super) const COMPACT: &str = "\
Examples:
  haqlite compact s3://my-bucket --name my
  haqlite compact s3://my-bucket --name my --level 2

The leader does this by itself; by hand it is for logs without one. Otherwise it is like snapshot, and has its JSON.";

pub(super) const FOLLOW: &str = "\
Examples:
  haqlite follow s3://my-bucket --name my -o copy.db --once
  haqlite follow s3://my-bucket -o my.db --interval 200 --json

The copy is an ordinary SQLite file, at some slot of the log at every moment, which others may read while it is
kept current. It is no node: it never leads, and writes nothing to the bucket. It goes on where it was after a
restart or a crash (keep PATH-haqlite beside it), waits for a bucket that is away, and ends with code 0 on Ctrl-C or
SIGTERM. If the log has a manifest (--manifest), new slots are seen as soon as that names them.

JSON, one a line, told apart by \"event\": \"following\" {\"path\", \"log\"}, \"position\" {\"txid\", \"epoch\", \"is_current\"},
\"trouble\" {\"kind\", \"reason\"}, \"recovered\", \"lost\" {\"path\"}: what was in the file once and not in the log,
\"ended\" {\"txid\", \"epoch\", \"is_current\"}.";

pub(super) const EXPLAIN: &str = "\
Examples:
  haqlite explain s3://my-bucket --name my
  haqlite explain s3://my-bucket/haqlite/my --bare --endpoint http://127.0.0.1:9000 --json

Nothing is asked of the bucket. Where the lease is (HAQLITE_LEASE_URL) only nodes need to know.

JSON: {\"url\", \"name\", \"prefix\", \"endpoint\", \"region\": {\"value\", \"from\"}, \"lease\", \"manifest\":
{\"value\", \"from\", \"key\"}, \"credentials\": {\"present\", \"from\"}, \"scheme\", \"bucket\", \"root\", \"layout\", \"first_slot\"}";

pub(super) const STORE_SERVER: &str = "\
Examples:
  haqlite store-server --data leases
  HAQLITE_STORE_TOKEN=a-long-token haqlite store-server --data leases --listen 0.0.0.0:8080
  haqlite store-server --memory --listen 127.0.0.1:0 --json

For nodes whose bucket cannot keep the lease: HAQLITE_LEASE_URL=http://host:8080?token=a-long-token. A value is on the
disk before its write is answered. One server at a time has a folder; in memory all is lost with the server.

Without a token it listens on loopback only. HAQLITE_STORE_TOKEN may hold several tokens, with commas between them, so
that one can be changed for another; arguments can be seen by other users of the machine, variables cannot. All tokens
may read and write all keys. Tokens travel as they are: without --tls-cert, use it in networks that you trust.

It ends with code 0 on Ctrl-C or SIGTERM, after it has answered what it was asked. Exit code 7 if the address or the
folder is taken.

JSON, one a line, told apart by \"event\": \"serving\" {\"url\", \"data\": the folder or null, \"tokens\": how many, \"tls\"},
\"ended\".";
