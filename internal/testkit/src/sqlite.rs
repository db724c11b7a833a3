//! The second oracle, and a baseline of the benches: the ads in a SQLite database in memory, with the index
//! that anyone would give them, asked in SQL.

use placard_model::dimensions::{self, Dimension, Listed, Places, Visitor};
use placard_model::{Ad, Filter, Query, Targeting, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use uuid::Uuid;

/// Most values of a dimension that are the bits of one column.
const BITS_MAX: usize = 62;

/// How a dimension's conditions are kept, by the places of the values that fit.
enum Kept {
    /// The first and the last of them; of an open one, around all of them.
    Ends,
    /// One bit for each of them; of an open one, all that there are.
    Bits,
    /// A row for each of them, in a table of their own, and a column that says whether it is open.
    Rows,
}

fn kept<D: Dimension>() -> Kept {
    match D::VALUES {
        _ if D::IS_RANGE => Kept::Ends,
        ..=BITS_MAX => Kept::Bits,
        _ => Kept::Rows,
    }
}

fn each_of(places: Places) -> impl DoubleEndedIterator<Item = i64> {
    (0..256).filter(move |place| places[place / 64] >> (place % 64) & 1 == 1).map(|at| at as i64)
}

/// The columns of conditions, and the tables of their own.
#[derive(Default)]
struct Schema {
    columns: Vec<String>,
    tables: Vec<String>,
}

impl Visitor for Schema {
    fn visit<D: Listed>(&mut self) {
        let name = D::NAME;
        match kept::<D>() {
            Kept::Ends => {
                self.columns.extend([format!("{name}_first"), format!("{name}_last")]);
            }
            Kept::Bits => self.columns.push(format!("{name}_bits")),
            Kept::Rows => {
                self.columns.push(format!("{name}_open"));
                self.tables.push(format!("{name}_values"));
            }
        }
    }
}

impl Schema {
    fn sql(&self) -> String {
        let columns = self.columns.join(" INTEGER NOT NULL, ");
        let indexed = self.columns.join(", ");
        let mut sql = format!(
            "CREATE TABLE ads (
                id BLOB PRIMARY KEY, start_at INTEGER NOT NULL, end_at INTEGER NOT NULL,
                {columns} INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX ads_by_end ON ads (end_at, id, start_at, {indexed});"
        );
        for table in &self.tables {
            sql.push_str(&format!(
                "CREATE TABLE {table} (
                    value INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (value, id)
                ) STRICT, WITHOUT ROWID;
                CREATE INDEX {table}_by_ad ON {table} (id);"
            ));
        }
        sql
    }
}

/// What an ad has in the columns, and in the tables.
struct Row<'a> {
    targeting: &'a Targeting,
    columns: Vec<i64>,
    rows: Vec<(&'static str, i64)>,
}

impl Visitor for Row<'_> {
    fn visit<D: Listed>(&mut self) {
        let places = D::places(D::condition(self.targeting));
        let (mut all, is_open) = (each_of(places), places == Places::default());
        match kept::<D>() {
            Kept::Ends => {
                self.columns.push(all.next().unwrap_or(-1));
                self.columns.push(each_of(places).next_back().unwrap_or(D::VALUES as i64));
            }
            Kept::Bits => self.columns.push(if is_open { -1 } else { places[0] as i64 }),
            Kept::Rows => {
                self.columns.push(is_open.into());
                self.rows.extend(all.map(|place| (D::NAME, place)));
            }
        }
    }
}

/// What fits a query, in SQL, and its values.
struct Fits<'a> {
    query: &'a Query,
    sql: String,
    values: Vec<Value>,
}

impl Visitor for Fits<'_> {
    fn visit<D: Listed>(&mut self) {
        let name = D::NAME;
        let (is_open, targets) = match kept::<D>() {
            Kept::Ends => {
                (format!("{name}_first = -1"), format!("# BETWEEN {name}_first AND {name}_last"))
            }
            Kept::Bits => (format!("{name}_bits = -1"), format!("{name}_bits >> # & 1")),
            Kept::Rows => (
                format!("{name}_open"),
                format!(
                    "({name}_open OR EXISTS (SELECT 1 FROM {name}_values
                     WHERE value = # AND {name}_values.id = ads.id))"
                ),
            ),
        };
        match D::filter(self.query) {
            Filter::Absent => {}
            Filter::Unknown => self.sql.extend([" AND ", &is_open]),
            Filter::Value(value) => {
                self.values.push(Value::Integer(D::place(value) as i64));
                let number = format!("?{}", self.values.len());
                self.sql.extend([" AND ", &targets.replace('#', &number)]);
            }
        }
    }
}

/// The database.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    tables: Vec<String>,
}

impl Default for Sqlite {
    fn default() -> Self {
        let mut schema = Schema::default();
        dimensions::each(&mut schema);
        let connection = Connection::open_in_memory().expect("a database in memory");
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(&schema.sql()).expect("the schema is valid");
        Self { connection, tables: schema.tables }
    }
}

impl Sqlite {
    /// Begins a transaction, for many changes at once.
    pub fn begin(&mut self) {
        self.connection.execute_batch("BEGIN").expect("no transaction is open");
    }

    /// Ends it.
    pub fn commit(&mut self) {
        self.connection.execute_batch("COMMIT").expect("a transaction is open");
    }

    /// Adds an ad that is not there.
    pub fn insert(&mut self, ad: &Ad) {
        let mut row = Row { targeting: &ad.spec.targeting, columns: Vec::new(), rows: Vec::new() };
        dimensions::each(&mut row);
        let (start_at, end_at) = (ad.spec.start_at.micros(), ad.spec.end_at.micros());
        let mut values: Vec<Value> =
            vec![ad.id.as_bytes().to_vec().into(), start_at.into(), end_at.into()];
        values.extend(row.columns.into_iter().map(Value::Integer));
        let places = vec!["?"; values.len()].join(", ");
        self.connection
            .prepare_cached(&format!("INSERT INTO ads VALUES ({places})"))
            .and_then(|mut insert| insert.execute(params_from_iter(values)))
            .expect("the ad is new");
        for (name, place) in row.rows {
            self.connection
                .prepare_cached(&format!("INSERT INTO {name}_values VALUES (?1, ?2)"))
                .and_then(|mut insert| insert.execute(params![place, ad.id.as_bytes()]))
                .expect("a value is in a set once");
        }
    }

    /// Drops an ad, if it is there.
    pub fn remove(&mut self, id: Uuid) {
        for table in std::iter::once("ads").chain(self.tables.iter().map(String::as_str)) {
            self.connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))
                .and_then(|mut delete| delete.execute([id.as_bytes()]))
                .expect("a valid DELETE");
        }
    }

    /// Bytes that the database takes, ads and indexes together.
    pub fn bytes(&self) -> usize {
        let pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let bytes: i64 = self
            .connection
            .query_row(pages, [], |row| row.get(0))
            .expect("every database knows its size");
        bytes as usize
    }

    /// The ids of the page and the number of all that fit, as two statements.
    pub fn search(&self, query: &Query, now: Timestamp) -> (Vec<Uuid>, u64) {
        let sql = "FROM ads WHERE end_at > ?1 AND start_at <= ?1".to_owned();
        let mut fits = Fits { query, sql, values: vec![Value::Integer(now.micros())] };
        dimensions::each(&mut fits);
        let Fits { sql: fits, values, .. } = fits;
        let total = self
            .connection
            .prepare_cached(&format!("SELECT count(*) {fits}"))
            .and_then(|mut count| count.query_row(params_from_iter(&values), |row| row.get(0)))
            .expect("a valid SELECT");
        let page = format!(
            "SELECT id {fits} ORDER BY end_at, id LIMIT {} OFFSET {}",
            query.limit, query.offset
        );
        let ids = self.connection.prepare_cached(&page).and_then(|mut page| {
            let rows = page.query_map(params_from_iter(&values), |row| row.get(0))?;
            rows.map(|id| id.map(Uuid::from_bytes)).collect()
        });
        (ids.expect("a valid SELECT"), total)
    }
}
