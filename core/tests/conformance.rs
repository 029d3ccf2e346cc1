//! Runs the cases in `conformance/`, which say in their first lines what they are.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use haqlite::{Error, ExecuteResult, HaQLite, Params, Row, Rows, SqlValue, Statement, Transaction, TxMode};
use serde_json::Value;

#[test]
fn every_case_gets_the_answers_that_it_names() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"))
        .join("tests/conformance");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let name = format!("{}: {}", path.file_name().unwrap().display(), case["name"].as_str().unwrap());
            run_case(&name, case);
            cases += 1;
        }
    }
    assert!(cases >= 40, "only {cases} cases were found");
}

fn run_case(name: &str, case: &Value) {
    let db = HaQLite::local(":memory:", case["schema"].as_str().unwrap_or("")).unwrap();
    for (number, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let place = format!("{name}, step {}", number + 1);
        if let Some(steps) = step.get("transaction") {
            run_transaction(&place, &db, step, steps.as_array().unwrap());
        } else if let Some(statements) = step.get("batch") {
            let statements: Vec<Statement> = statements.as_array().unwrap().iter().map(statement).collect();
            let done = db.batch(&statements);
            let Some(done) = expect(&place, step, done) else { continue };
            for (number, expected) in step["results"].as_array().unwrap().iter().enumerate() {
                check(&format!("{place}, result {}", number + 1), expected, &done.results[number]);
            }
        } else {
            run_verb(&place, step, &mut On::Handle(&db));
        }
    }
}

fn run_transaction(place: &str, db: &HaQLite, step: &Value, steps: &[Value]) {
    let mut transaction = db.begin(TxMode::Immediate).unwrap();
    for (number, inner) in steps.iter().enumerate() {
        run_verb(&format!("{place}.{}", number + 1), inner, &mut On::Transaction(&mut transaction));
    }
    let ended = match step["end"].as_str().unwrap() {
        "commit" => transaction.commit().map(|_| ()),
        "rollback" => transaction.rollback(),
        other => panic!("{place}: what is {other:?}?"),
    };
    expect(place, step, ended);
}

/// What a verb is called on.
enum On<'a> {
    Handle(&'a HaQLite),
    Transaction(&'a mut Transaction),
}

fn run_verb(place: &str, step: &Value, on: &mut On<'_>) {
    let sql = |verb: &str| step.get(verb).map(|sql| sql.as_str().unwrap());
    let statement = Statement { sql: String::new(), params: params(&step["params"]) };
    let params = statement.params;
    let done = if let Some(sql) = sql("query") {
        let rows = match on {
            On::Handle(db) => db.query(sql, params),
            On::Transaction(tx) => tx.query(sql, params),
        };
        rows.map(|rows| (ExecuteResult::default(), rows))
    } else if let Some(sql) = sql("execute") {
        let result = match on {
            On::Handle(db) => db.execute(sql, params),
            On::Transaction(tx) => tx.execute(sql, params),
        };
        result.map(|result| (result, Rows::empty()))
    } else {
        let sql = sql("execute_returning").unwrap_or_else(|| panic!("{place}: no verb"));
        match on {
            On::Handle(db) => db.execute_returning(sql, params),
            On::Transaction(tx) => tx.execute_returning(sql, params),
        }
    };
    if let Some(done) = expect(place, step, done) {
        check(place, step, &done);
    }
}

fn check(place: &str, expected: &Value, (result, rows): &(ExecuteResult, Rows)) {
    if let Some(affected) = expected.get("rows_affected") {
        assert_eq!(Some(result.rows_affected), affected.as_u64(), "{place}: rows_affected");
    }
    if let Some(rowid) = expected.get("last_insert_rowid") {
        let rowid = rowid.as_str().map(|text| text.parse().unwrap());
        assert_eq!(result.last_insert_rowid, rowid, "{place}: last_insert_rowid");
    }
    if let Some(columns) = expected.get("columns") {
        let columns: Vec<_> = columns.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(*rows.columns, *columns, "{place}: columns");
    }
    if let Some(expected) = expected.get("rows") {
        let expected: Vec<Vec<SqlValue>> = expected
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row.as_array().unwrap().iter().map(value).collect())
            .collect();
        let seen: Vec<Vec<SqlValue>> = rows.clone().into_iter().map(Row::into_values).collect();
        assert_eq!(seen, expected, "{place}: rows");
    }
}

/// What a step gave, if it was to succeed; `None` if it failed as it was to.
fn expect<T: std::fmt::Debug>(place: &str, step: &Value, done: Result<T, Error>) -> Option<T> {
    let Some(expected) = step.get("error") else {
        return Some(done.unwrap_or_else(|error| panic!("{place}: {error:?}")));
    };
    let error = done.err().unwrap_or_else(|| panic!("{place}: it did not fail"));
    assert_eq!(error.kind().name(), expected["kind"].as_str().unwrap(), "{place}: {error:?}");
    if let Some(code) = expected.get("sqlite_code") {
        assert_eq!(error.sqlite_code().map(i64::from), code.as_i64(), "{place}: {error:?}");
    }
    if let Some(reason) = expected.get("reason") {
        assert!(error.message().contains(reason.as_str().unwrap()), "{place}: {error:?}");
    }
    None
}

fn statement(json: &Value) -> Statement {
    Statement { sql: json["sql"].as_str().unwrap().to_owned(), params: params(&json["params"]) }
}

fn params(json: &Value) -> Params<'static> {
    match json {
        Value::Null => Params::none(),
        Value::Array(values) => values.iter().map(value).collect::<Vec<_>>().into(),
        Value::Object(pairs) => {
            Params::OwnedNamed(pairs.iter().map(|(name, json)| (name.clone(), value(json))).collect())
        }
        other => panic!("{other} is no parameters"),
    }
}

fn value(json: &Value) -> SqlValue {
    let text = json["value"].as_str().unwrap_or("");
    match json["type"].as_str().unwrap() {
        "null" => SqlValue::Null,
        "integer" => SqlValue::Integer(text.parse().unwrap()),
        "real" => SqlValue::Real(text.parse().unwrap()),
        "text" => SqlValue::Text(text.to_owned()),
        "blob" => {
            let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            SqlValue::Blob((0..text.len()).step_by(2).map(byte).collect())
        }
        other => panic!("{other:?} is no type"),
    }
}
