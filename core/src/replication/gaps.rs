use std::collections::BTreeSet;

use crate::types::{PageNumber, PageSize};

/// Pages by which a database grew and that no file has brought yet. Every page that a file grows the database
/// by is in it, or in a later one if another tool wrote them; at the end none may be missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    missing: BTreeSet<u32>,
    /// The database's size before the file that is being read.
    size: u32,
    /// The next page that this file has to bring.
    next: u32,
}

/// More missing pages than these are not remembered one by one.
const MOST: usize = 100_000;

impl Gaps {
    /// Begins a file.
    pub(crate) fn begin(&mut self, size: u32) {
        self.size = size;
        self.next = size.saturating_add(1);
    }

    /// The file's next page. False if more is missing than can be made good.
    pub(crate) fn page(&mut self, page: PageNumber, page_size: PageSize) -> bool {
        let page = page.get();
        if page <= self.size {
            self.missing.remove(&page);
            return true;
        }
        let fine = self.miss_up_to(page - 1, page_size);
        self.next = page.saturating_add(1);
        fine
    }

    /// Ends a file after which the database has `commit` pages. False if more is missing than can be made
    /// good.
    pub(crate) fn end(&mut self, commit: u32, page_size: PageSize) -> bool {
        let fine = self.miss_up_to(commit, page_size);
        self.missing.retain(|page| *page <= commit);
        fine
    }

    /// The first page that is still missing.
    pub(crate) fn first(&self) -> Option<u32> {
        self.missing.first().copied()
    }

    fn miss_up_to(&mut self, last: u32, page_size: PageSize) -> bool {
        let lock_page = page_size.lock_page().get();
        for page in (self.next..=last).filter(|page| *page != lock_page) {
            if self.missing.len() >= MOST {
                return false;
            }
            self.missing.insert(page);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(gaps: &mut Gaps, size: u32, pages: &[u32], commit: u32) -> bool {
        let page_size = PageSize::new(65536).unwrap();
        gaps.begin(size);
        pages.iter().all(|&page| gaps.page(PageNumber::new(page).unwrap(), page_size))
            && gaps.end(commit, page_size)
    }

    #[test]
    fn a_page_that_the_database_grew_by_is_owed_until_it_comes_or_is_cut_off() {
        let mut gaps = Gaps::default();
        assert!(file(&mut gaps, 0, &[1, 2, 3], 3));
        assert_eq!(gaps.first(), None);
        assert!(file(&mut gaps, 3, &[2, 5], 7));
        assert_eq!(gaps.first(), Some(4));
        assert!(file(&mut gaps, 7, &[4], 7));
        assert_eq!(gaps.first(), Some(6));
        assert!(file(&mut gaps, 7, &[1], 5));
        assert_eq!(gaps.first(), None);
    }

    #[test]
    fn the_lock_page_is_never_owed_and_the_debt_is_bounded() {
        let mut gaps = Gaps::default();
        assert!(file(&mut gaps, 16_380, &(16_381..=16_384).collect::<Vec<_>>(), 16_385));
        assert_eq!(gaps.first(), None, "16385 is the lock page");
        assert!(!file(&mut gaps, 16_385, &[], 500_000));
    }
}
