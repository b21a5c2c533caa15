//! What a reference lists: the items that a package offers, and how many of them say what they are for.

use serde::{Deserialize, Serialize};

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A crate, module or header as a whole.
    Module,
    /// A macro.
    Macro,
    /// A trait.
    Trait,
    /// A class.
    Class,
    /// A struct.
    Struct,
    /// A union.
    Union,
    /// An enumeration.
    Enum,
    /// A type alias or type definition.
    Type,
    /// A function.
    Function,
    /// A method, or an item of a trait.
    Method,
    /// A variant of an enumeration.
    Variant,
    /// A field.
    Field,
    /// A constant.
    Constant,
    /// A variable.
    Variable,
    /// Something that is defined elsewhere.
    Reexport,
}

impl Kind {
    /// Its word in a reference.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Module => "module",
            Kind::Macro => "macro",
            Kind::Trait => "trait",
            Kind::Class => "class",
            Kind::Struct => "struct",
            Kind::Union => "union",
            Kind::Enum => "enum",
            Kind::Type => "type",
            Kind::Function => "function",
            Kind::Method => "method",
            Kind::Variant => "variant",
            Kind::Field => "field",
            Kind::Constant => "constant",
            Kind::Variable => "variable",
            Kind::Reexport => "re-export",
        }
    }
}

/// One public item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name as a user writes it: `module::Type::method`, `module.Class.method`, `function`.
    pub name: String,
    /// Its declaration on one line, without a body.
    pub signature: String,
    /// The file that declares it, relative to the root of the tree.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The first line of its documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Whether one expects documentation of it: not of re-exports and plain constants of a preprocessor.
    pub counted: bool,
}

/// A crate, a Python package, the modules of a Node package, the headers of a C library.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its language.
    pub language: String,
    /// Its folder, relative to the root; empty for the root itself.
    pub folder: String,
    /// Its public items, in the order of a reference.
    pub items: Vec<Item>,
    /// What could not be read for sure, as sentences without a full stop.
    pub notes: Vec<String>,
}

/// How much of what is public is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Items with documentation.
    pub documented: usize,
    /// Items that should have some.
    pub public: usize,
}

impl Coverage {
    /// Counts `items`.
    pub fn of<'i>(items: impl IntoIterator<Item = &'i Item>) -> Self {
        let mut coverage = Coverage::default();
        for item in items.into_iter().filter(|item| item.counted) {
            coverage.public += 1;
            coverage.documented += usize::from(item.doc.is_some());
        }
        coverage
    }

    /// The share in percent, rounded down; 100 where nothing is public.
    pub fn percent(self) -> usize {
        (self.documented * 100).checked_div(self.public).unwrap_or(100)
    }
}
