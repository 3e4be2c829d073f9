//! Modules of a crate as its source files declare them, with the names that they define and the paths that they use.
//!
//! Tests are left out: what is compiled under `cfg(test)` alone may import what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Token, UseTree};

/// A module: a file, or a part of one in braces.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The file that holds it, relative to the repository.
    pub(crate) file: PathBuf,
    /// Its modules, by name.
    pub(crate) children: BTreeMap<String, usize>,
    /// Names that it defines.
    pub(crate) items: BTreeSet<String>,
    /// Its `use` declarations, one for each name.
    pub(crate) uses: Vec<Use>,
    /// Other paths of more than one segment.
    pub(crate) paths: Vec<Reference>,
    /// Paths of one segment: names that it uses.
    pub(crate) names: BTreeSet<String>,
    /// The module around it.
    pub(crate) parent: Option<usize>,
}

impl Module {
    /// Whether the module itself says what a name means, other than by `*`.
    pub(crate) fn names_here(&self, name: &str) -> bool {
        self.items.contains(name)
            || self.children.contains_key(name)
            || self.uses.iter().any(|import| import.alias.as_deref() == Some(name))
    }
}

/// One name of a `use` declaration.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    /// The name in this module, or none for `*`.
    pub(crate) alias: Option<String>,
    pub(crate) reference: Reference,
    /// Whether other modules are meant to find the name here.
    pub(crate) is_public: bool,
}

/// A path with its place.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// Reads a crate from its root file. Module 0 is the root.
pub(crate) fn read(repository: &Path, root_file: &Path) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    let folder = root_file.parent().unwrap_or(Path::new("")).to_owned();
    read_file(repository, root_file, &folder, None, &mut modules)?;
    Ok(modules)
}

/// Reads a file and the files of its modules, which lie in `folder`.
fn read_file(
    repository: &Path,
    file: &Path,
    folder: &Path,
    parent: Option<usize>,
    modules: &mut Vec<Module>,
) -> Result<usize> {
    let text = std::fs::read_to_string(repository.join(file));
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let parsed = syn::parse_file(&text);
    let parsed = parsed.with_context(|| format!("{} is not valid Rust", file.display()))?;
    read_items(repository, file, folder, parent, &parsed.items, modules)
}

fn read_items(
    repository: &Path,
    file: &Path,
    folder: &Path,
    parent: Option<usize>,
    items: &[Item],
    modules: &mut Vec<Module>,
) -> Result<usize> {
    let own = modules.len();
    modules.push(Module { file: file.to_owned(), parent, ..Module::default() });
    let mut reader = Reader { module: Module::default(), submodules: Vec::new() };
    for item in items {
        reader.module.items.extend(name_of(item));
        reader.visit_item(item);
    }
    let Reader { module: Module { items, uses, paths, names, .. }, submodules } = reader;
    let module = &mut modules[own];
    (module.items, module.uses, module.paths, module.names) = (items, uses, paths, names);
    for submodule in submodules {
        let name = submodule.ident.to_string();
        let inner = folder.join(&name);
        let child = match &submodule.content {
            Some((_, items)) => read_items(repository, file, &inner, Some(own), items, modules)?,
            None => {
                let found = find_file(repository, file, folder, &submodule)?;
                // A module at another path has its own modules beside it.
                let inner = if path_attribute(&submodule.attrs).is_some() {
                    found.parent().unwrap_or(Path::new("")).to_owned()
                } else {
                    inner
                };
                read_file(repository, &found, &inner, Some(own), modules)?
            }
        };
        modules[own].children.insert(name, child);
    }
    Ok(own)
}

fn find_file(repository: &Path, file: &Path, folder: &Path, module: &ItemMod) -> Result<PathBuf> {
    if let Some(path) = path_attribute(&module.attrs) {
        return Ok(normal(&file.parent().unwrap_or(Path::new("")).join(path)));
    }
    let name = module.ident.to_string();
    let candidates = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
    match candidates.iter().find(|candidate| repository.join(candidate).is_file()) {
        Some(found) => Ok(found.clone()),
        None => bail!(
            "{}:{}: module `{name}` has no file: expected {}",
            file.display(),
            line_of(module.ident.span()),
            candidates[0].display()
        ),
    }
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts
}

/// The value of `#[path = "..."]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else {
        return None;
    };
    Some(text.value())
}

/// The name that an item defines in its module.
fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether something is compiled for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let last = path.segments.last();
        if last.is_some_and(|last| last.ident == "test") {
            return true;
        }
        if !path.is_ident("cfg") {
            return false;
        }
        let conditions =
            attribute.parse_args_with(Punctuated::<syn::Meta, Token![,]>::parse_terminated);
        conditions.is_ok_and(|conditions| conditions.iter().any(needs_test))
    })
}

/// Whether a condition cannot hold outside of tests.
fn needs_test(condition: &syn::Meta) -> bool {
    match condition {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<syn::Meta, Token![,]>::parse_terminated)
            .is_ok_and(|inner| inner.iter().any(needs_test)),
        _ => false,
    }
}

fn line_of(span: Span) -> usize {
    span.start().line
}

/// Collects what the items of one module use.
struct Reader {
    module: Module,
    submodules: Vec<ItemMod>,
}

impl Reader {
    fn add_use(&mut self, before: &[String], tree: &UseTree, is_public: bool) {
        let (name, alias) = match tree {
            UseTree::Path(path) => {
                let mut segments = before.to_vec();
                segments.push(path.ident.to_string());
                return self.add_use(&segments, &path.tree, is_public);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(before, tree, is_public);
                }
                return;
            }
            UseTree::Name(name) => (Some(&name.ident), Some(&name.ident)),
            UseTree::Rename(rename) => (Some(&rename.ident), Some(&rename.rename)),
            UseTree::Glob(_) => (None, None),
        };
        let mut segments = before.to_vec();
        // `use a::{self}` names `a`.
        let is_self = name.is_some_and(|name| name == "self") && !before.is_empty();
        segments.extend(name.filter(|_| !is_self).map(ToString::to_string));
        let same = name.zip(alias).is_some_and(|(name, alias)| name == alias);
        let alias =
            if is_self && same { before.last().cloned() } else { alias.map(ToString::to_string) };
        let span = match tree {
            UseTree::Glob(glob) => glob.star_token.spans[0],
            _ => name.map_or_else(Span::call_site, syn::Ident::span),
        };
        let reference = Reference { segments, line: line_of(span) };
        self.module.uses.push(Use { alias, reference, is_public });
    }

    fn add_path(&mut self, segments: Vec<String>, line: usize) {
        match &segments[..] {
            [] => {}
            [name] => {
                self.module.names.insert(name.clone());
            }
            _ => self.module.paths.push(Reference { segments, line }),
        }
    }

    /// Finds paths in tokens that are not parsed: bodies of macros, arguments of attributes.
    fn scan(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.add_path(std::mem::take(&mut segments), line);
                        line = line_of(word.span());
                    }
                    segments.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(sign) if sign.as_char() == ':' && !segments.is_empty() => {
                    colons += 1;
                }
                other => {
                    self.add_path(std::mem::take(&mut segments), line);
                    colons = 0;
                    match other {
                        TokenTree::Group(group) => self.scan(group.stream()),
                        TokenTree::Literal(literal) => {
                            self.path_in_text(&literal.to_string(), line_of(literal.span()));
                        }
                        _ => {}
                    }
                }
            }
        }
        self.add_path(segments, line);
    }

    /// A path in a string, as in `#[serde(with = "crate::a")]`.
    fn path_in_text(&mut self, literal: &str, line: usize) {
        let text = literal.trim_matches('"');
        let begins = ["crate::", "super::", "self::"].iter().any(|start| text.starts_with(start));
        let is_path = text.chars().all(|sign| sign.is_alphanumeric() || matches!(sign, '_' | ':'));
        if begins && is_path {
            self.add_path(text.split("::").map(str::to_owned).collect(), line);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes_of(item)) {
            return;
        }
        if let Item::Mod(module) = item {
            self.submodules.push(module.clone());
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[Attribute] = match item {
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_use(&[], &item.tree, is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.add_path(segments, line_of(first.ident.span()));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.scan(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            syn::Meta::List(list) => self.scan(list.tokens.clone()),
            // Links of documentation are not imports.
            syn::Meta::NameValue(_) | syn::Meta::Path(_) => {}
        }
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::a)` allows, and imports nothing.
    }
}
