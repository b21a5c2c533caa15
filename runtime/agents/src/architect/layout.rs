//! Places for the boxes and bends for the arrows of a layered picture.
//!
//! After Sugiyama, Tagawa and Toda (IEEE Trans. SMC 11, 1981): loops are opened, rows assigned by the longest path so that what
//! uses stands above what is used, crossings reduced by barycentres, and boxes moved toward their neighbours by least
//! squares with their distances kept. Arrows to one box share their way past the rows between. Deterministic: the same graph
//! gives the same picture.

use std::collections::BTreeMap;

use super::levels::levels;

/// Space on each side of a box.
const GAP: f64 = 11.0;
/// Space between two rows.
const BETWEEN: f64 = 46.0;
/// Width that an arrow takes where it passes a row, with its space.
const PASSAGE: f64 = 7.0;
/// A row holds no more boxes than this; the rest goes to further rows.
const ROW: usize = 9;
/// How often the order of the rows is improved.
const SWEEPS: usize = 24;

/// A box to be placed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// A finished layout; all in pixels, from the left top.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    /// The middle of each box.
    pub boxes: Vec<(f64, f64)>,
    /// For each edge, the points that its arrow passes, from the box that uses to the box that is used.
    pub arrows: Vec<Vec<(f64, f64)>>,
    /// Width of the whole.
    pub width: f64,
    /// Height of the whole.
    pub height: f64,
}

/// A box or the passage of an arrow, in its row.
struct Item {
    row: usize,
    width: f64,
    above: Vec<usize>,
    below: Vec<usize>,
    x: f64,
}

/// Lays out boxes and the edges between them (from, to).
pub fn lay(sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
    if sizes.is_empty() {
        return Layout::default();
    }
    let down = opened(sizes.len(), edges);
    let rows = assign(sizes.len(), &down);
    let mut items: Vec<Item> = sizes
        .iter()
        .zip(&rows)
        .map(|(size, row)| Item {
            row: *row,
            width: size.width + 2.0 * GAP,
            above: vec![],
            below: vec![],
            x: 0.0,
        })
        .collect();
    let mut ways = Vec::with_capacity(edges.len());
    let mut passages: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (&(from, to), &(top, bottom)) in edges.iter().zip(&down) {
        let mut way = vec![top];
        for row in rows[top] + 1..rows[bottom] {
            let passage = *passages.entry((to, row)).or_insert_with(|| {
                items.push(Item { row, width: PASSAGE, above: vec![], below: vec![], x: 0.0 });
                items.len() - 1
            });
            way.push(passage);
        }
        way.push(bottom);
        for pair in way.windows(2) {
            if !items[pair[0]].below.contains(&pair[1]) {
                items[pair[0]].below.push(pair[1]);
                items[pair[1]].above.push(pair[0]);
            }
        }
        if (from, to) != (top, bottom) {
            way.reverse();
        }
        ways.push(way);
    }
    let order = order(&items);
    place(&mut items, &order);

    let height = sizes.iter().map(|size| size.height).fold(0.0, f64::max);
    let y = |row: usize| BETWEEN / 2.0 + height / 2.0 + row as f64 * (height + BETWEEN);
    let left = items.iter().map(|item| item.x - item.width / 2.0).fold(f64::MAX, f64::min) - GAP;
    let right = items.iter().map(|item| item.x + item.width / 2.0).fold(f64::MIN, f64::max) + GAP;
    let arrows = ways.iter().map(|way| points(way, &items, sizes, left, &y)).collect();
    Layout {
        boxes: (0..sizes.len()).map(|at| (items[at].x - left, y(items[at].row))).collect(),
        arrows,
        width: right - left,
        height: y(order.len() - 1) + height / 2.0 + BETWEEN / 2.0,
    }
}

/// Where one arrow runs: out of its box, straight past each row that it crosses, into the other box.
fn points(
    way: &[usize],
    items: &[Item],
    sizes: &[Size],
    left: f64,
    y: &dyn Fn(usize) -> f64,
) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let height = sizes.iter().map(|size| size.height).fold(0.0, f64::max) / 2.0;
    let last = way.len() - 1;
    for (at, &item) in way.iter().enumerate() {
        let (x, middle) = (items[item].x - left, y(items[item].row));
        let next = if at < last { items[way[at + 1]].row } else { items[way[at - 1]].row };
        let downward = if at < last { next > items[item].row } else { next < items[item].row };
        let side = if downward { height } else { -height };
        // Arrows of one box spread along its side, toward where they go.
        let spread = |other: usize| {
            let room = sizes.get(item).map_or(0.0, |size| size.width / 2.0 - 12.0).max(0.0);
            ((items[other].x - items[item].x) * 0.18).clamp(-room, room)
        };
        if at == 0 {
            points.push((x + spread(way[1]), middle + side));
        } else if at == last {
            points.push((x + spread(way[at - 1]), middle - side));
        } else {
            points.push((x, middle - side));
            points.push((x, middle + side));
        }
    }
    points
}

/// The edges with loops opened: each as (upper, lower).
fn opened(n: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut targets = vec![Vec::new(); n];
    let mut used = vec![0i64; n];
    for &(from, to) in edges {
        targets[from].push(to);
        used[from] += 1;
        used[to] -= 1;
    }
    // Begin where more is used than uses it: such a box belongs above.
    let mut starts: Vec<usize> = (0..n).collect();
    starts.sort_by_key(|&at| (-used[at], at));
    let (mut entered, mut left, mut clock) = (vec![0usize; n], vec![0usize; n], 0usize);
    for start in starts {
        let mut stack = vec![(start, 0)];
        while let Some((node, child)) = stack.pop() {
            if child == 0 {
                if entered[node] > 0 {
                    continue;
                }
                clock += 1;
                entered[node] = clock;
            }
            if let Some(&target) = targets[node].get(child) {
                stack.push((node, child + 1));
                if entered[target] == 0 {
                    stack.push((target, 0));
                }
            } else {
                clock += 1;
                left[node] = clock;
            }
        }
    }
    // A loop closes where an edge leads to a box that was not left yet.
    edges
        .iter()
        .map(
            |&(from, to)| {
                if entered[to] <= entered[from] && left[to] >= left[from] { (to, from) } else { (from, to) }
            },
        )
        .collect()
}

/// The row of each box, from the top; wide rows are spread over several.
fn assign(n: usize, down: &[(usize, usize)]) -> Vec<usize> {
    let mut targets = vec![Vec::new(); n];
    let mut tied = vec![false; n];
    for &(top, bottom) in down {
        targets[top].push(bottom);
        (tied[top], tied[bottom]) = (true, true);
    }
    let level = levels(&targets);
    let top = level.iter().copied().max().unwrap_or(0);
    let mut rows = vec![0; n];
    let mut row = 0;
    // Boxes without any arrow stand below all others.
    for (wanted, at_level) in (0..=top).rev().map(|level| (true, level)).chain([(false, 0)]) {
        let members: Vec<usize> = (0..n).filter(|&at| tied[at] == wanted && level[at] == at_level).collect();
        if members.is_empty() {
            continue;
        }
        let parts = members.len().div_ceil(ROW);
        let each = members.len().div_ceil(parts);
        for chunk in members.chunks(each) {
            chunk.iter().for_each(|&at| rows[at] = row);
            row += 1;
        }
    }
    rows
}

/// The items of each row from left to right, with few crossings.
fn order(items: &[Item]) -> Vec<Vec<usize>> {
    let count = items.iter().map(|item| item.row).max().unwrap_or(0) + 1;
    let mut rows = vec![Vec::new(); count];
    for (at, item) in items.iter().enumerate() {
        rows[item.row].push(at);
    }
    let mut best = rows.clone();
    let mut fewest = crossings(items, &rows);
    for sweep in 0..SWEEPS {
        let downward = sweep % 2 == 0;
        let mut position = vec![0.0; items.len()];
        for step in 0..count {
            let row = if downward { step } else { count - 1 - step };
            let own: Vec<f64> = (0..rows[row].len()).map(|at| at as f64).collect();
            let mut keyed: Vec<(f64, usize)> = rows[row]
                .iter()
                .zip(own)
                .map(|(&at, own)| {
                    let fixed = if downward { &items[at].above } else { &items[at].below };
                    let mean =
                        fixed.iter().map(|&other| position[other]).sum::<f64>() / fixed.len().max(1) as f64;
                    (if fixed.is_empty() { own } else { mean }, at)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[row] = keyed.into_iter().map(|(_, at)| at).collect();
            let middle = rows[row].len() as f64 / 2.0;
            for (at, &item) in rows[row].iter().enumerate() {
                position[item] = at as f64 - middle;
            }
        }
        let now = crossings(items, &rows);
        if now < fewest {
            (fewest, best) = (now, rows.clone());
        }
        if fewest == 0 {
            break;
        }
    }
    best
}

/// How many pairs of arrows cross between neighbouring rows.
fn crossings(items: &[Item], rows: &[Vec<usize>]) -> usize {
    let mut position = vec![0; items.len()];
    for row in rows {
        row.iter().enumerate().for_each(|(at, &item)| position[item] = at);
    }
    let mut sum = 0;
    for row in rows {
        let mut ends: Vec<usize> = Vec::new();
        for &item in row {
            let mut below: Vec<usize> = items[item].below.iter().map(|&other| position[other]).collect();
            below.sort_unstable();
            for &end in &below {
                sum += ends.len() - ends.partition_point(|seen| *seen <= end);
            }
            for end in below {
                let at = ends.partition_point(|seen| *seen <= end);
                ends.insert(at, end);
            }
        }
    }
    sum
}

/// Gives every item its x: near its neighbours, in the order of its row, never overlapping.
fn place(items: &mut [Item], rows: &[Vec<usize>]) {
    for row in rows {
        let wanted = vec![0.0; row.len()];
        settle(items, row, &wanted);
    }
    for round in 0..SWEEPS {
        let downward = round % 2 == 0;
        for step in 0..rows.len() {
            let row = &rows[if downward { step } else { rows.len() - 1 - step }];
            let wanted: Vec<f64> = row
                .iter()
                .map(|&at| {
                    let item = &items[at];
                    let near: Vec<usize> = match (downward, round + 2 >= SWEEPS) {
                        // The last rounds weigh both sides alike.
                        (_, true) => item.above.iter().chain(&item.below).copied().collect(),
                        (true, _) => item.above.clone(),
                        (false, _) => item.below.clone(),
                    };
                    let mean =
                        near.iter().map(|&other| items[other].x).sum::<f64>() / near.len().max(1) as f64;
                    // A little toward the middle, so that what hangs together with nothing does not drift away.
                    0.92 * if near.is_empty() { item.x } else { mean }
                })
                .collect();
            settle(items, row, &wanted);
        }
    }
}

/// The nearest places to the wanted ones that keep order and distance: least squares by pooling neighbours that collide.
fn settle(items: &mut [Item], row: &[usize], wanted: &[f64]) {
    // With the distances taken out, order is all that must hold.
    let mut offsets = Vec::with_capacity(row.len());
    let mut offset = 0.0;
    for (at, &item) in row.iter().enumerate() {
        if at > 0 {
            offset += (items[row[at - 1]].width + items[item].width) / 2.0;
        }
        offsets.push(offset);
    }
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (wanted - offset, 1);
        while let Some(&(sum, count)) = pools.last()
            && sum / count as f64 > pool.0 / pool.1 as f64
        {
            pools.pop();
            pool = (pool.0 + sum, pool.1 + count);
        }
        pools.push(pool);
    }
    let settled = pools.iter().flat_map(|&(sum, count)| std::iter::repeat_n(sum / count as f64, count));
    for ((&item, offset), base) in row.iter().zip(&offsets).zip(settled) {
        items[item].x = base + offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOX: Size = Size { width: 100.0, height: 30.0 };

    proptest! {
        #[test]
        fn no_two_boxes_overlap_and_all_lies_within_the_picture(
            n in 1usize..30,
            edges in proptest::collection::vec((0usize..30, 0usize..30), 0..60),
        ) {
            let edges: Vec<_> = edges.into_iter().map(|(a, b)| (a % n, b % n)).filter(|(a, b)| a != b).collect();
            let layout = lay(&vec![BOX; n], &edges);
            for (at, a) in layout.boxes.iter().enumerate() {
                prop_assert!(a.0 >= 50.0 && a.0 <= layout.width - 50.0 && a.1 >= 15.0 && a.1 <= layout.height - 15.0);
                for b in &layout.boxes[at + 1..] {
                    prop_assert!((a.0 - b.0).abs() >= 100.0 || (a.1 - b.1).abs() >= 30.0, "{a:?} {b:?}");
                }
            }
            prop_assert_eq!(layout.arrows.len(), edges.len());
            prop_assert_eq!(&lay(&vec![BOX; n], &edges), &layout, "the same graph, the same picture");
        }

        #[test]
        fn in_a_graph_without_loops_what_uses_stands_above_what_is_used(
            n in 2usize..25,
            edges in proptest::collection::vec((0usize..25, 0usize..25), 0..50),
        ) {
            let edges: Vec<_> = edges.into_iter().map(|(a, b)| (a % n, b % n)).filter(|(a, b)| a < b).collect();
            let layout = lay(&vec![BOX; n], &edges);
            for &(from, to) in &edges {
                prop_assert!(layout.boxes[from].1 < layout.boxes[to].1);
            }
        }
    }

    #[test]
    fn two_arrows_that_need_not_cross_do_not() {
        let items = |pairs: &[(usize, usize)]| {
            let mut items: Vec<Item> = (0..4)
                .map(|at| Item { row: at / 2, width: 1.0, above: vec![], below: vec![], x: 0.0 })
                .collect();
            for &(from, to) in pairs {
                items[from].below.push(to);
                items[to].above.push(from);
            }
            items
        };
        let crossed = items(&[(0, 3), (1, 2)]);
        assert_eq!(crossings(&crossed, &[vec![0, 1], vec![2, 3]]), 1);
        assert_eq!(crossings(&crossed, &order(&crossed)), 0);
    }
}
