//! The second oracle, and a baseline of the benches: the ads in a SQLite database in memory, with the index
//! that anyone would give them, asked in SQL.

use placard_model::{Ad, AgeRange, Country, CountrySet, Filter, Query, Targeting, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use uuid::Uuid;

const SCHEMA: &str = "
    CREATE TABLE ads (
        id BLOB PRIMARY KEY, start_at INTEGER NOT NULL, end_at INTEGER NOT NULL,
        age_start INTEGER NOT NULL, age_end INTEGER NOT NULL,
        genders INTEGER NOT NULL, platforms INTEGER NOT NULL, anywhere INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ads_by_end ON ads (
        end_at, id, start_at, age_start, age_end, genders, platforms, anywhere
    );
    CREATE TABLE countries (
        country TEXT NOT NULL, id BLOB NOT NULL, PRIMARY KEY (country, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX countries_by_ad ON countries (id);
";

/// The database.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
}

impl Default for Sqlite {
    fn default() -> Self {
        let connection = Connection::open_in_memory().expect("a database in memory");
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(SCHEMA).expect("the schema is valid");
        Self { connection }
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
        let Targeting { age, countries, genders, platforms } = ad.spec.targeting;
        let any = AgeRange { start: 0, end: u8::MAX };
        let AgeRange { start, end } = age.unwrap_or(any);
        let bits = |bits: u8| if bits == 0 { u8::MAX } else { bits };
        self.connection
            .prepare_cached("INSERT INTO ads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
            .and_then(|mut insert| {
                insert.execute(params![
                    ad.id.as_bytes(),
                    ad.spec.start_at.micros(),
                    ad.spec.end_at.micros(),
                    start,
                    end,
                    bits(genders.bits()),
                    bits(platforms.bits()),
                    countries.is_empty(),
                ])
            })
            .expect("the ad is new");
        self.insert_countries(ad.id, &countries);
    }

    fn insert_countries(&self, id: Uuid, countries: &CountrySet) {
        for country in countries.iter().map(Country::code) {
            self.connection
                .prepare_cached("INSERT INTO countries VALUES (?1, ?2)")
                .and_then(|mut insert| insert.execute(params![country, id.as_bytes()]))
                .expect("a country is in a set once");
        }
    }

    /// Drops an ad, if it is there.
    pub fn remove(&mut self, id: Uuid) {
        for delete in ["DELETE FROM ads WHERE id = ?1", "DELETE FROM countries WHERE id = ?1"] {
            let deleted = self.connection.prepare_cached(delete);
            deleted.and_then(|mut delete| delete.execute([id.as_bytes()])).expect("a valid DELETE");
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
        let mut fits = "FROM ads WHERE end_at > ?1 AND start_at <= ?1".to_owned();
        let mut values = vec![Value::Integer(now.micros())];
        let mut filter = |filter: Filter<Value>, is_open: &str, targets: &str| match filter {
            Filter::Absent => {}
            Filter::Unknown => fits.extend([" AND ", is_open]),
            Filter::Value(value) => {
                values.push(value);
                fits.extend([" AND ", &targets.replace('#', &format!("?{}", values.len()))]);
            }
        };
        let place = |place: usize| Value::Integer(place as i64);
        let age = query.age.map(|age| Value::Integer(age.into()));
        filter(age, "age_start = 0", "# BETWEEN age_start AND age_end");
        let gender = query.gender.map(|gender| place(gender.place()));
        filter(gender, "genders = 255", "genders >> # & 1");
        let platform = query.platform.map(|platform| place(platform.place()));
        filter(platform, "platforms = 255", "platforms >> # & 1");
        let country = query.country.map(|country| Value::Text(country.code().to_owned()));
        let targets = "(anywhere OR EXISTS (SELECT 1 FROM countries
            WHERE country = # AND countries.id = ads.id))";
        filter(country, "anywhere", targets);
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
