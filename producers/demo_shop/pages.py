"""The shop's pages as HTML and XML, from articles. Pure: the same offers give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from producers.demo_shop.pictures import VIEWS
from producers.demo_shop.shelf import Article, Shelf, description, slug, specs

SHOP = "Freilauf Cycles"
PAGE_SIZE = 24

TEMPLATES = Environment(
    loader=PackageLoader("producers.demo_shop"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracker:
    """Where the tracker of web events is, and the shop's public key for it."""

    script: str
    key: str


class Pages:
    """Draws the pages of one shop that stands at ``base``, an address without a slash at its end.

    With a ``tracker``, what visitors do on them is sent to the collector of web events.
    """

    def __init__(self, shelf: Shelf, base: str, tracker: Tracker | None = None) -> None:
        self._shelf = shelf
        self._base = base
        departments = {product.category_path[0]: None for product in shelf.products}
        sign = "€" if shelf.currency == "EUR" else f"{shelf.currency} "
        names = {slug(name): name for name in departments}
        self._shared = {"shop": SHOP, "sign": sign, "departments": names, "tracker": tracker}

    def home(self, articles: Sequence[Article]) -> str:
        """The front page: shelves, what is reduced, what sells."""
        return self._page(
            "home.html",
            "/",
            best=articles[:8],
            reduced=[a for a in articles if a.list_price][:8],
            hero=next((a for a in articles if a.product.category == "Bikes"), articles[0]),
            count=len(articles),
            categories=self._shelf.categories(),
        )

    def category(self, key: str, articles: Sequence[Article], page: int) -> str | None:
        """One page of a department or category, or None when there is none."""
        name = self._shelf.categories().get(key)
        found = [a for a in articles if name in a.product.category_path]
        first = (page - 1) * PAGE_SIZE
        if name is None or page < 1 or first >= len(found):
            return None
        pages = [_page_path(key, n + 1) for n in range(-(-len(found) // PAGE_SIZE))]
        path = found[0].product.category_path
        trail = [("Home", "/"), *((n, f"/product-category/{slug(n)}/") for n in path[: path.index(name)]), (name, None)]
        return self._page(
            "category.html",
            pages[page - 1],
            name=name,
            page=page,
            pages=pages,
            trail=trail,
            first=first + 1,
            total=len(found),
            articles=found[first : first + PAGE_SIZE],
        )

    def product(self, article: Article, related: Sequence[Article]) -> str:
        """A product's page, with its data once more as JSON-LD."""
        shelves = [(slug(name), name) for name in article.product.category_path]
        trail = [("Home", "/"), *((name, f"/product-category/{key}/") for key, name in shelves)]
        return self._page(
            "product.html",
            product_path(article),
            article=article,
            trail=[*trail, (article.product.name, None)],
            shelves=shelves,
            images=self._images(article),
            paragraphs=description(article.product),
            specs=specs(article.product),
            related=related,
            linked_data=_script_safe(self._linked_data(article, trail)),
        )

    def cart(self, article: Article) -> str:
        """The cart, with one product in it: it remembers nothing."""
        return self._page("cart.html", "/cart/", article=article)

    def checkout(self) -> str:
        """Where a shop that sells would ask for an address."""
        return self._page("checkout.html", "/checkout/")

    def not_found(self) -> str:
        """What stands at any address where nothing is."""
        return self._page("not_found.html", "/")

    def sitemap_index(self, changed_at: datetime) -> str:
        """The list of sitemaps."""
        names = ("product-sitemap.xml", "product_cat-sitemap.xml")
        entries = [_entry("sitemap", f"{self._base}/{name}", changed_at) for name in names]
        return _xml("sitemapindex", entries)

    def product_sitemap(self, changed: Mapping[str, datetime]) -> str:
        """Every product page, by slug, with the time of its last change."""
        return _xml("urlset", [_entry("url", f"{self._base}/product/{key}/", at) for key, at in changed.items()])

    def category_sitemap(self, changed_at: datetime) -> str:
        """Every category's first page."""
        keys = self._shelf.categories()
        return _xml("urlset", [_entry("url", self._base + _page_path(key, 1), changed_at) for key in keys])

    def robots(self, crawl_delay_seconds: float) -> str:
        """robots.txt, as a WooCommerce shop with an SEO plugin has it."""
        return (
            f"User-agent: *\nDisallow: /cart/\nDisallow: /checkout/\nDisallow: /my-account/\nDisallow: /*?orderby=\n"
            f"Crawl-delay: {crawl_delay_seconds:g}\n\nSitemap: {self._base}/sitemap_index.xml\n"
        )

    def _images(self, article: Article) -> list[str]:
        return [f"{self._base}/images/{article.product.product_id}-{view}.svg" for view in range(VIEWS)]

    def _linked_data(self, article: Article, trail: Sequence[tuple[str, str]]) -> dict[str, Any]:
        product, url = article.product, self._base + product_path(article)
        offer = {
            "@type": "Offer",
            "price": str(article.price),
            "priceCurrency": self._shelf.currency,
            "availability": f"https://schema.org/{'InStock' if article.stock else 'OutOfStock'}",
            "itemCondition": "https://schema.org/NewCondition",
            "url": url,
            "seller": {"@type": "Organization", "name": SHOP, "url": self._base},
        }
        crumbs = [
            {"@type": "ListItem", "position": place, "item": {"@id": self._base + path, "name": name}}
            for place, (name, path) in enumerate(trail, 1)
        ]
        last = {"@type": "ListItem", "position": len(crumbs) + 1, "item": {"@id": url, "name": product.name}}
        return {
            "@context": "https://schema.org/",
            "@graph": [
                {"@type": "BreadcrumbList", "itemListElement": [*crumbs, last]},
                {
                    "@type": "Product",
                    "@id": f"{url}#product",
                    "productID": product.product_id,
                    "name": product.name,
                    "url": url,
                    "description": " ".join(description(product)),
                    "image": self._images(article),
                    "sku": product.sku,
                    "brand": {"@type": "Brand", "name": product.brand},
                    "offers": [offer],
                },
            ],
        }

    def _page(self, template: str, path: str, **values: Any) -> str:
        return TEMPLATES.get_template(template).render(**self._shared, canonical=self._base + path, **values)


def product_path(article: Article) -> str:
    """Where the product's page is."""
    return f"/product/{article.slug}/"


def _page_path(key: str, page: int) -> str:
    return f"/product-category/{key}/" if page == 1 else f"/product-category/{key}/page/{page}/"


def _script_safe(data: dict[str, Any]) -> Markup:
    # JSON inside a script element: only "</" could end it early.
    return Markup(json.dumps(data, ensure_ascii=False).replace("</", "<\\/"))  # noqa: S704


def _entry(kind: str, url: str, at: datetime) -> str:
    return f"<{kind}><loc>{url}</loc><lastmod>{at:%Y-%m-%dT%H:%M:%S+00:00}</lastmod></{kind}>"


def _xml(root: str, entries: Sequence[str]) -> str:
    body = "\n".join(entries)
    schema = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{schema}">\n{body}\n</{root}>\n'
