//! How a type declares its schema, beside the type, and how the document finds the schemas that others refer to. The bounds
//! in a schema are the constants that the checks use. Therefore a schema is a value, and not derived: the attributes of a
//! derive take only literals.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::schema;

/// Schemas with their names, as utoipa collects them.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

/// Implements utoipa's traits for a type: its doc comment says in the document what the type is, and then come the name of
/// its schema and the schema, with a parameter by which it refers to the schemas of other types.
macro_rules! shape {
    ($(#[doc = $doc:literal])+ $type:ty as $name:literal = |$shapes:pat_param| $schema:expr) => {
        const _: () = {
            fn describe($shapes: &mut $crate::openapi::shape::Shapes) -> ::serde_json::Value {
                $schema
            }

            impl ::utoipa::PartialSchema for $type {
                fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                    $crate::openapi::shape::finished(concat!($($doc),+).trim(), describe)
                }
            }

            impl ::utoipa::ToSchema for $type {
                fn name() -> ::std::borrow::Cow<'static, str> {
                    $name.into()
                }

                fn schemas(schemas: &mut $crate::openapi::shape::Schemas) {
                    $crate::openapi::shape::refer(schemas, describe);
                }
            }
        };
    };
}

pub(crate) use shape;

/// The schemas that one schema, or an answer, refers to.
#[derive(Default)]
pub(crate) struct Shapes(BTreeMap<String, RefOr<Schema>>);

impl Shapes {
    /// Returns a reference to the schema of a type.
    pub(crate) fn reference<T: ToSchema>(&mut self) -> Value {
        let name = T::name().into_owned();
        let reference = schema::reference(&name);
        if !self.0.contains_key(&name) {
            let mut schemas = vec![(name, T::schema())];
            T::schemas(&mut schemas);
            self.0.extend(schemas);
        }
        reference
    }

    /// Returns an example of a type.
    pub(crate) fn example<T: ToSchema>(&mut self) -> Value {
        let reference = self.reference::<T>();
        self.example_of(&reference)
    }

    /// Returns a value that fits a schema, put together from the examples of its parts.
    pub(crate) fn example_of(&self, schema: &Value) -> Value {
        if let Some(example) = schema["examples"].get(0) {
            return example.clone();
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            let known = self.0.get(name).expect("the schema of a type that it refers to");
            return self.example_of(&serde_json::to_value(known).expect("a schema serialises"));
        }
        match schema["properties"].as_object() {
            Some(parts) => {
                parts.iter().map(|(name, part)| (name.clone(), self.example_of(part))).collect()
            }
            None => json!([self.example_of(&schema["items"])]),
        }
    }

    /// Returns the schemas.
    pub(crate) fn into_schemas(self) -> Schemas {
        self.0.into_iter().collect()
    }
}

/// Returns a schema with what its type is and an example.
pub(crate) fn finished(
    description: &str,
    describe: impl FnOnce(&mut Shapes) -> Value,
) -> RefOr<Schema> {
    let mut shapes = Shapes::default();
    let mut schema = describe(&mut shapes);
    schema["description"] = description.into();
    schema["examples"] = json!([shapes.example_of(&schema)]);
    serde_json::from_value(schema).expect("what is written here is a schema")
}

/// Adds the schemas that a schema refers to.
pub(crate) fn refer(schemas: &mut Schemas, describe: impl FnOnce(&mut Shapes) -> Value) {
    let mut shapes = Shapes::default();
    describe(&mut shapes);
    schemas.extend(shapes.into_schemas());
}
