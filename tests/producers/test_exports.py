"""Exports as shops and marketplaces write them: found by their header, read by their ready mapping, shown by --check.

Every person in them is invented; the headers are the platforms' own.

Longer than 400 lines, because it holds an example file and the full header of each platform.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from producers.order_file import export
from producers.order_file.check import balance, found
from producers.order_file.mapping import load
from producers.order_file.orders import OrderFile
from producers.order_file.source import refuse_hopeless
from producers.order_file.steps import ORDER
from producers.rates import book
from producers.rates.book import Known
from producers.rates.ecb import Rate
from producers.rates.exchange import Exchange
from producers.shop.occurrences import ORDER_PLACED, ORDER_REFUNDED
from schemas.codec import Encoder
from schemas.errors import Misconfigured

PROJECT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 29, tzinfo=UTC)

SHOPIFY = """\
Name,Email,Financial Status,Paid at,Currency,Subtotal,Shipping,Taxes,Total,Discount Code,Discount Amount,Created at,\
Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Shipping Country,Notes,Cancelled at,Refunded Amount,Vendor,\
Source,Lineitem discount
#2001,ann@example.com,paid,2026-11-01 10:00:00 +0100,EUR,72.00,5.00,0.00,77.00,AUTUMN,8.00,2026-11-01 10:00:00 +0100,\
1,Bell,30.00,BELL,DE,"Bitte
klingeln",,0.00,Acme,web,0.00
#2001,ann@example.com,,,,,,,,,,,2,Tyre,25.00,TYRE,,,,,Acme,,0.00
#2002,bob@example.com,refunded,,EUR,50.00,0.00,0.00,50.00,,0.00,2026-11-02 09:00:00 +0100,1,Lamp,50.00,,FR,,\
2026-11-05 09:00:00 +0100,50.00,Acme,web,0.00
#2003,cyd@example.com,voided,,EUR,70.00,0.00,0.00,70.00,,0.00,2026-11-02 09:30:00 +0100,1,Lock,70.00,LOCK,FR,,,0.00,\
Acme,web,0.00
#2004,,partially_refunded,,EUR,40.00,0.00,0.00,40.00,,0.00,2026-11-03 09:30:00 +0100,2,Pump,20.00,PUMP,,,,10.00,\
Acme,pos,0.00
"""
WOOCOMMERCE = """\
order_id,order_number,date,status,shipping_total,tax_total,order_total,refunded_total,order_currency,customer_id,\
billing_email,billing_country,shipping_country,item_product_id,item_name,item_sku,item_quantity,item_subtotal,item_total
71,1071,2026-11-01 10:00:00,completed,4.90,0.00,44.90,0.00,EUR,5,dee@example.com,AT,AT,9,Bell,BELL,2,50.00,40.00
72,1072,2026-11-01 11:00:00,refunded,4.90,0.00,24.90,24.90,EUR,0,eve@example.com,AT,,9,Bell,BELL,1,20.00,20.00
73,1073,2026-11-01 12:00:00,cancelled,0.00,0.00,99.00,0.00,EUR,0,fay@example.com,AT,,9,Bell,BELL,1,99.00,99.00
"""
AMAZON = """\
order-id\torder-item-id\tpurchase-date\tpayments-date\tbuyer-email\tbuyer-name\tsku\tproduct-name\tquantity-purchased\t\
currency\titem-price\titem-tax\tshipping-price\tshipping-tax\tship-country\titem-promotion-discount\tship-promotion-discount
303-1\t1\t2026-11-01T10:00:00+01:00\t2026-11-01T10:01:00+01:00\tx1@marketplace.amazon.de\tGus\tBELL\tBell\t2\tEUR\t\
60.00\t9.58\t4.00\t0.64\tDE\t10.00\t-1.50
303-1\t2\t2026-11-01T10:00:00+01:00\t2026-11-01T10:01:00+01:00\tx1@marketplace.amazon.de\tGus\tTYRE\tTyre\t1\tEUR\t\
25.00\t3.99\t0.00\t0.00\tDE\t\t
"""
AMAZON_ALL = """\
amazon-order-id\tmerchant-order-id\tpurchase-date\tlast-updated-date\torder-status\tfulfillment-channel\tsales-channel\t\
product-name\tsku\tasin\titem-status\tquantity\tcurrency\titem-price\titem-tax\tshipping-price\tship-country\t\
item-promotion-discount\tship-promotion-discount
303-5\t\t2026-11-01T09:00:00+00:00\t2026-11-02T09:00:00+00:00\tShipped\tMerchant\tAmazon.de\tBell\tBELL\tB01\tShipped\t1\t\
EUR\t30.00\t4.79\t\tDE\t5.00\t
303-6\t\t2026-11-01T09:00:00+00:00\t2026-11-02T09:00:00+00:00\tCancelled\tMerchant\tAmazon.de\tBell\tBELL\tB01\tCancelled\t\
0\t\t\t\t\tDE\t\t
303-7\t\t2026-11-28T09:00:00+00:00\t2026-11-28T09:00:00+00:00\tPending\tAmazon\tAmazon.de\tBell\tBELL\tB01\tUnshipped\t\
1\t\t\t\t\tDE\t\t
"""
EBAY = """\

Sales Record Number,Order Number,Buyer Username,Buyer Name,Ship To Country,Item Number,Item Title,Custom Label,\
Quantity,Sold For,Shipping And Handling,eBay Collected Tax,Total Price,Sale Date
101,11-1,hal9,Hal,US,1234,Bell,BELL,2,$12.50,$3.00,$0.00,$28.00,Nov-01-26
102,11-2,ivy,Ivy,US,,,,3,$40.00,$5.00,$0.00,$45.00,Nov-02-26
103,11-2,,,,1234,Bell,BELL,1,$10.00,$2.00,$0.00,,
104,11-2,,,,1235,Tyre,TYRE,2,$15.00,$3.00,$0.00,,
"""
EBAY_WHOLE = """\
,,,,,,,,,,,,,,
Sales Record Number,Order Number,Buyer Username,Buyer Name,Buyer Country,Ship To Country,Item Number,Item Title,\
Custom Label,Quantity,Sold For,Shipping And Handling,Seller Collected Tax,eBay Collected Tax,Sale Date
,,,,,,,,,,,,,,
301,31-1,kit4,Kit,US,US,1234,Seller ID plate,PLATE,1,$12.50,$3.00,$0.00,$1.00,Nov-03-26 23:45:00
302,31-2,lou,Lou,US,US,1235,Tyre,,2,"$1,015.00",$0.00,$0.00,$0.00,Nov-04-26

2,record(s) downloaded, from Nov-03-26 00:00:00, to Nov-04-26 23:59:59
Seller ID : bells-and-tyres
"""
EBAY_BRITISH = """\
Sales record number,Order number,Buyer username,Buyer name,Post to country,Item number,Item title,Custom label,\
Quantity,Sold for,Postage and packaging,Sale date
401,41-1,mia,Mia,United Kingdom,1234,Bell,BELL,2,$12.50,$3.00,03-Nov-26
"1","record(s) downloaded"
"""
ETSY = """\
Sale Date,Item Name,Buyer,Quantity,Price,Coupon Code,Discount Amount,Order Shipping,Order Sales Tax,Item Total,\
Currency,Transaction ID,Listing ID,Ship Country,Order ID,SKU
11/01/26,Bell,jo (jo77),2,12.00,SAVE,4.00,3.50,0.00,20.00,EUR,1,55,Germany,900,BELL
11/01/26,Tyre,jo (jo77),1,9.00,,0.00,3.50,0.00,9.00,EUR,2,56,Germany,900,TYRE
"""
STRIPE = """\
id,Description,Created date (UTC),Amount,Amount Refunded,Currency,Status,Customer ID,Customer Email,Refunded date (UTC)
ch_1,Order 1,2026-11-01 10:00:00,50.00,0.00,eur,Paid,cus_1,kim@example.com,
ch_2,Order 2,2026-11-01 10:00:00,30.00,30.00,eur,Refunded,,lee@example.com,2026-11-04 10:00:00
ch_3,Order 3,2026-11-01 10:00:00,99.00,0.00,eur,Failed,,moe@example.com,
"""
ONLINE_RETAIL = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,12/1/2010 8:26,2.55,17850,United Kingdom
536365,71053,WHITE METAL LANTERN,6,12/1/2010 8:26,3.39,17850,United Kingdom
C536379,85123A,WHITE HANGING HEART T-LIGHT HOLDER,-2,12/1/2010 9:41,2.55,17850,United Kingdom
536414,22139,,56,12/1/2010 11:52,0.00,,United Kingdom
536415,22139,RETROSPOT TEA SET,-10,12/1/2010 11:53,0.00,,United Kingdom
"""
CDNOW = "customer_id date number_of_cds dollar_value\n 00001 19970101  1   11.77\n 00002 19970112  1   12.00\n"
OLIST = {
    "olist_orders_dataset.csv": '"order_id","customer_id","order_status","order_purchase_timestamp"\n'
    '"o1","c1","delivered","2017-10-02 10:56:33"\n"o2","c2","canceled","2018-07-24 20:41:37"\n',
    "olist_order_items_dataset.csv": '"order_id","order_item_id","product_id","seller_id","shipping_limit_date",'
    '"price","freight_value"\n"o1",1,"p1","s1","2017-10-06 11:07:15",29.99,8.72\n'
    '"o1",2,"p2","s1","2017-10-06 11:07:15",10.00,1.00\n"o2",1,"p1","s1","2018-07-30 03:24:27",118.70,22.76\n',
    "olist_products_dataset.csv": '"product_id","product_category_name"\n"p1","utilidades_domesticas"\n"p2",""\n',
    "olist_customers_dataset.csv": '"customer_id","customer_unique_id","customer_city","customer_state"\n'
    '"c1","u1","sao paulo","SP"\n"c2","u2","barreiras","BA"\n',
}


def zipped(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def workbook(rows: list[list[Any]]) -> bytes:
    """A spreadsheet as Excel saves one, with one sheet; times are numbers that are shown as times."""

    def cell(value: Any) -> str:
        if isinstance(value, datetime):
            days = (value - datetime(1899, 12, 30)).total_seconds() / 86400
            return f'<c s="1"><v>{days!r}</v></c>'
        if isinstance(value, int | float):
            return f"<c><v>{value!r}</v></c>"
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    return zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{office}/officeDocument"'
            ' Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="Sales" sheetId="1"'
            ' r:id="s"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="s"'
            f' Type="{office}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="t" Type="{office}/styles"'
            ' Target="styles.xml"/></Relationships>',
            "xl/styles.xml": f'<styleSheet xmlns="{main}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/>'
            "</cellXfs></styleSheet>",
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>',
        }
    )


SHEET = workbook(
    [
        ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"],
        [536365, "85123A", "HEART", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850, "United Kingdom"],
        ["C536379", "85123A", "HEART", -1, datetime(2010, 12, 1, 9, 41), 2.55, 17850, "United Kingdom"],
    ]
)
# name: the file, the mapping that fits, orders, net goods, paid back, refused rows, rows of orders that were not sold.
EXPORTS: dict[str, tuple[str, str | bytes, str, int, str, str, int, int]] = {
    "shopify": ("orders_export.csv", SHOPIFY, "shopify", 3, "162.00", "60.00", 0, 1),
    "woocommerce": ("orders.csv", WOOCOMMERCE, "woocommerce", 2, "60.00", "24.90", 0, 1),
    "amazon": ("amazon.txt", AMAZON, "amazon", 1, "75.00", "0.00", 0, 0),
    "amazon, cp1252": ("a.txt", AMAZON.replace("Bell", "Glöckchen").encode("cp1252"), "amazon", 1, "75", "0", 0, 0),
    "amazon, all": ("all.txt", AMAZON_ALL, "amazon_all_orders", 1, "25.00", "0.00", 0, 2),
    "ebay": ("ebay.csv", "\ufeff" + EBAY, "ebay", 2, "65.00", "0.00", 0, 0),
    "ebay, whole": ("ebay.csv", EBAY_WHOLE, "ebay", 2, "2042.50", "0.00", 0, 2),
    "ebay, british": ("ebay.csv", EBAY_BRITISH, "ebay", 1, "25.00", "0.00", 0, 1),
    "etsy": ("EtsySoldOrderItems.csv", ETSY, "etsy", 1, "29.00", "0.00", 0, 0),
    "stripe": ("unified_payments.csv", STRIPE, "stripe", 2, "80.00", "30.00", 0, 1),
    "online retail": ("retail.csv", ONLINE_RETAIL, "online_retail", 2, "35.64", "5.10", 1, 0),
    "online retail, xlsx": ("Online Retail.xlsx", SHEET, "online_retail", 1, "15.30", "2.55", 0, 0),
    "cdnow": ("CDNOW_master.txt", CDNOW, "cdnow", 2, "23.77", "0.00", 0, 0),
    "olist": ("olist.zip", zipped(OLIST), "olist", 1, "39.99", "0.00", 0, 1),
}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def save(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return save


def sums(file: OrderFile) -> tuple[int, Decimal, Decimal]:
    """Orders, what their goods came to, and what was paid back; every record fits its contract."""
    goods = back = Decimal(0)
    orders = 0
    for step in file.steps:
        record = file.record(step)
        if step.kind == ORDER:
            assert Encoder(ORDER_PLACED, 1).encode(record)
            orders += 1
            goods += sum(x["quantity"] * x["unit_price"] - x["discount_amount"] for x in record["lines"])
        else:
            assert Encoder(ORDER_REFUNDED, 1).encode(record)
            back += record["amount"]
    return orders, goods, back


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_found_by_its_header_and_comes_out_to_the_cent(
    name: str, saved: Callable[[str, str | bytes], Path]
) -> None:
    file_name, content, fits, orders, goods, back, refused, unsold = EXPORTS[name]
    path = saved(file_name, content)
    mapping, why = export.detected(path)
    assert (mapping.stem, bool(why)) == (fits, True)
    file = export.opened(path, mapping)
    assert [refusal.reason for refusal in file.refused][refused:] == []
    assert sums(file) == (orders, Decimal(goods), Decimal(back))
    assert len(file.refused) == refused
    assert sum(len(skip.rows) for skip in file.skipped) == unsold


# Whole headers, as the platforms' exports have them, and the mapped fields that they have no column for.
HEADERS = {
    "shopify": (
        "Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,Currency,Subtotal,"
        "Shipping,Taxes,Total,Discount Code,Discount Amount,Shipping Method,Created at,Lineitem quantity,"
        "Lineitem name,Lineitem price,Lineitem compare at price,Lineitem sku,Lineitem requires shipping,"
        "Lineitem taxable,Lineitem fulfillment status,Billing Name,Billing Street,Billing Address1,"
        "Billing Address2,Billing Company,Billing City,Billing Zip,Billing Province,Billing Country,"
        "Billing Phone,Shipping Name,Shipping Street,Shipping Address1,Shipping Address2,Shipping Company,"
        "Shipping City,Shipping Zip,Shipping Province,Shipping Country,Shipping Phone,Notes,Note Attributes,"
        "Cancelled at,Payment Method,Payment Reference,Refunded Amount,Vendor,Outstanding Balance,Employee,"
        "Location,Device ID,Id,Tags,Risk Level,Source,Lineitem discount,Tax 1 Name,Tax 1 Value,Phone,"
        "Receipt Number,Duties,Billing Province Name,Shipping Province Name,Payment ID,Payment Terms Name,"
        "Next Payment Due At,Payment References",
        set(),
    ),
    "woocommerce": (
        "order_id,order_number,order_number_formatted,date,status,shipping_total,shipping_tax_total,fee_total,"
        "fee_tax_total,tax_total,discount_total,order_total,refunded_total,order_currency,payment_method,"
        "shipping_method,customer_id,billing_first_name,billing_last_name,billing_company,billing_email,"
        "billing_phone,billing_address_1,billing_address_2,billing_postcode,billing_city,billing_state,"
        "billing_country,shipping_first_name,shipping_last_name,shipping_address_1,shipping_address_2,"
        "shipping_postcode,shipping_city,shipping_state,shipping_country,shipping_company,customer_note,item_id,"
        "item_product_id,item_name,item_sku,item_quantity,item_subtotal,item_subtotal_tax,item_total,"
        "item_total_tax,item_refunded,item_refunded_qty,item_meta",
        set(),
    ),
    "amazon": (
        "order-id order-item-id purchase-date payments-date buyer-email buyer-name buyer-phone-number sku"
        " product-name quantity-purchased currency item-price item-tax shipping-price shipping-tax"
        " ship-service-level recipient-name ship-address-1 ship-address-2 ship-address-3 ship-city ship-state"
        " ship-postal-code ship-country ship-phone-number bill-address-1 bill-city bill-postal-code bill-country"
        " item-promotion-discount item-promotion-id ship-promotion-discount ship-promotion-id delivery-start-date"
        " delivery-end-date delivery-time-zone delivery-Instructions sales-channel".replace(" ", "\t"),
        set(),
    ),
    "amazon_all_orders": (
        "amazon-order-id merchant-order-id purchase-date last-updated-date order-status fulfillment-channel"
        " sales-channel order-channel url ship-service-level product-name sku asin item-status quantity currency"
        " item-price item-tax shipping-price shipping-tax gift-wrap-price gift-wrap-tax item-promotion-discount"
        " ship-promotion-discount ship-city ship-state ship-postal-code ship-country promotion-ids"
        " is-business-order purchase-order-number price-designation".replace(" ", "\t"),
        set(),
    ),
    "ebay": (
        "Sales Record Number,Order Number,Buyer Username,Buyer Name,Buyer Email,Buyer Note,Buyer Address 1,"
        "Buyer Address 2,Buyer City,Buyer State,Buyer Zip,Buyer Country,Buyer Tax Identifier Name,"
        "Buyer Tax Identifier Value,Ship To Name,Ship To Phone,Ship To Address 1,Ship To Address 2,Ship To City,"
        "Ship To State,Ship To Zip,Ship To Country,Item Number,Item Title,Custom Label,"
        "Sold Via Promoted Listings,Quantity,Sold For,Shipping And Handling,Item Location,Item Zip Code,"
        "Item Country,eBay Collect And Remit Tax Rate,eBay Collect And Remit Tax Type,eBay Reference Name,"
        "eBay Reference Value,Tax Status,Seller Collected Tax,eBay Collected Tax,Electronic Waste Recycling Fee,"
        "eBay Collected Charges,Total Price,Payment Method,Sale Date,Paid On Date,Ship By Date,Shipped On Date,"
        "Feedback Left,My Item Note,Shipping Service,Tracking Number,Transaction ID,Variation Details,"
        "Global Shipping Program,eBay Plus,Tax City,Tax State,Tax Zip,Tax Country",
        set(),
    ),
    "etsy": (
        "Sale Date,Item Name,Buyer,Quantity,Price,Coupon Code,Coupon Details,Discount Amount,Shipping Discount,"
        "Order Shipping,Order Sales Tax,Item Total,Currency,Transaction ID,Listing ID,Date Paid,Date Shipped,"
        "Ship Name,Ship Address1,Ship Address2,Ship City,Ship State,Ship Zipcode,Ship Country,Order ID,"
        "Variations,Order Type,Listings Type,Payment Type,InPerson Discount,InPerson Location,VAT Paid by Buyer,"
        "SKU",
        set(),
    ),
    "stripe": (
        "id,Created date (UTC),Amount,Amount Refunded,Currency,Captured,Converted Amount,"
        "Converted Amount Refunded,Converted Currency,Fee,Is Link,Mode,Payment Source Type,Status,Taxes On Fee,"
        "Application Fee,Application ID",
        {"customer_id", "refunded_at"},
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_whole_header_of_a_platform_is_found_and_has_what_is_mapped(
    name: str, saved: Callable[[str, str | bytes], Path]
) -> None:
    header, lacks = HEADERS[name]
    path, _ = export.detected(saved("export.csv", header + "\n"))
    assert path.stem == name
    mapping = load(path)
    assert {*mapping.columns} - {*mapping.positions(header.replace("\t", ",").split(","))} == lacks


def test_an_exports_own_lines_are_named_and_are_no_orders(saved: Callable[[str, str | bytes], Path]) -> None:
    file = export.opened(saved("ebay.csv", EBAY_WHOLE), export.ready()["ebay"])
    assert [(skip.order_id, skip.reason) for skip in file.skipped] == [
        ("", "a summary line of the export, not an order"),
        ("", "a summary line of the export, not an order"),
    ]
    assert [step.order_id for step in file.steps] == ["31-1", "31-2"]


def test_a_line_of_the_export_itself_is_no_sign_that_the_mapping_is_right(
    saved: Callable[[str, str | bytes], Path], tmp_path: Path
) -> None:
    """In pounds, by a mapping of dollars: every row is refused, and so the file is, whole."""
    path = saved("ebay.csv", EBAY_WHOLE.replace("$", "£"))
    file = export.opened(path, export.ready()["ebay"])
    assert file.refused[0].reason == (
        "unit_price is '£12.50', which is not an amount of money: it has the currency sign of GBP,"
        " and the order is in USD"
    )
    with pytest.raises(Misconfigured, match=r"no row of ebay\.csv makes an order, so nothing was published"):
        refuse_hopeless(file, path)
    said = balance(found(file, tmp_path, datetime(2026, 11, 28, tzinfo=UTC), "USD"))
    assert said == "4 rows: 0 in orders, 2 rejected, 0 not sold, 2 summary lines."


def amazon_row(order_id: str, status: str, item_status: str, amounts: str) -> str:
    """A row of the All Orders report. ``amounts``: quantity, currency and price."""
    times = "2026-11-01T09:00:00+00:00\t2026-11-02T09:00:00+00:00"
    item = f"Tyre\tTYRE\tB02\t{item_status}\t" + amounts.replace(" ", "\t")
    return f"{order_id}\t\t{times}\t{status}\tMerchant\tAmazon.de\t{item}\t\t\tDE\t\t\n"


@pytest.mark.parametrize("amounts", ["1 EUR 89.95", "0  "])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_item_that_was_cancelled_is_left_out_of_its_order(
    amounts: str, is_first: bool, saved: Callable[[str, str | bytes], Path]
) -> None:
    """Amazon's report has it among the items of an order that was shipped."""
    row = amazon_row("303-5", "Shipped", "Cancelled", amounts)
    text = AMAZON_ALL.replace("303-5", row + "303-5") if is_first else AMAZON_ALL + row
    file = export.opened(saved("all.txt", text), export.ready()["amazon_all_orders"])
    assert (sums(file), file.refused) == ((1, Decimal("25.00"), Decimal(0)), [])
    assert [(skip.order_id, skip.reason) for skip in file.skipped if skip.what == "item"] == [
        ("303-5", "an item of it, and its status is Cancelled: it was not sold")
    ]


def test_an_order_of_which_every_item_was_cancelled_was_not_sold(saved: Callable[[str, str | bytes], Path]) -> None:
    text = AMAZON_ALL.replace("B01\tShipped", "B01\tCancelled")
    file = export.opened(saved("all.txt", text), export.ready()["amazon_all_orders"])
    assert (file.steps, file.refused, [skip.what for skip in file.skipped]) == ([], [], ["order"] * 3)


def test_an_order_whose_rows_differ_on_whether_it_was_sold_is_refused(
    saved: Callable[[str, str | bytes], Path],
) -> None:
    rows = [amazon_row("303-8", status, "Unshipped", "1 EUR 20.00") for status in ("Cancelled", "Shipped")]
    file = export.opened(saved("all.txt", AMAZON_ALL + "".join(rows)), export.ready()["amazon_all_orders"])
    (refused,) = file.refused
    assert refused.reason == (
        "order 303-8 has status 'Cancelled' in an earlier row and 'Shipped' in this one: is it sold or not?"
    )
    assert [step.order_id for step in file.steps] == ["303-5"]


def test_shipping_that_a_promotion_paid_is_not_counted(saved: Callable[[str, str | bytes], Path]) -> None:
    path = export.ready()["amazon"]
    (step,) = export.opened(saved("a.txt", AMAZON), path).steps
    assert step.head.shipping == 250
    (refused,) = export.opened(saved("a.txt", AMAZON.replace("-1.50", "-4.01")), path).refused
    assert refused.reason == "line_shipping_discount is '-4.01', which is more than line_shipping"
    assert refused.column == "ship-promotion-discount"


def test_shopifys_later_rows_are_lines_of_their_order_and_refunds_come_when_they_were_made(
    saved: Callable[[str, str | bytes], Path],
) -> None:
    file = export.opened(saved("orders.csv", SHOPIFY), export.ready()["shopify"])
    first, refund = (
        next(file.record(s) for s in file.steps if s.key == key) for key in ("order:#2001", "refund:#2002")
    )
    assert [(line["quantity"], line["discount_amount"]) for line in first["lines"]] == [(1, 3), (2, 5)]
    assert (first["region"], first["currency"], first["shipping_amount"]) == ("DE", "EUR", 5)
    assert first["discounts"] == [{"code": "AUTUMN", "title": None, "amount": 8}]
    assert (first["paid_at"], first["fulfilled_at"]) == (datetime(2026, 11, 1, 9, tzinfo=UTC), None)
    assert refund["occurred_at"] == datetime(2026, 11, 5, 8, tzinfo=UTC)
    guests = [s.head.customer_id for s in file.steps if s.order_id == "#2004"]
    assert guests == ["guest-#2004"] * 2


def test_a_refund_of_a_file_says_when_its_order_was_paid_and_is_another_state_once_that_is_known(
    saved: Callable[[str, str | bytes], Path],
) -> None:
    paid = SHOPIFY.replace("refunded,,EUR,50.00", "refunded,2026-11-02 10:00:00 +0100,EUR,50.00")
    files = [
        export.opened(saved(f"{n}.csv", text), export.ready()["shopify"]) for n, text in enumerate((SHOPIFY, paid))
    ]
    steps = [next(step for step in file.steps if step.key == "refund:#2002") for file in files]
    records = [file.record(step) for file, step in zip(files, steps, strict=True)]
    assert [record["order_paid_at"] for record in records] == [None, datetime(2026, 11, 2, 9, tzinfo=UTC)]
    assert len({step.state for step in steps}) == 2
    assert len({record["event_id"] for record in records}) == 2


def test_olists_files_are_joined_in_a_folder_as_in_an_archive(tmp_path: Path) -> None:
    for name, text in OLIST.items():
        (tmp_path / name).write_text(text)
    mapping, _ = export.detected(tmp_path)
    (step,) = export.opened(tmp_path, mapping).steps
    assert (step.head.customer_id, step.head.region, step.head.shipping) == ("u1", "SP", 972)
    assert [line.category for line in step.lines] == ["utilidades_domesticas", "uncategorized"]
    assert (step.head.paid_at_ms, step.head.fulfilled_at_ms) == (None, None)  # this file has no such columns
    (tmp_path / "olist_customers_dataset.csv").unlink()
    with pytest.raises(Misconfigured, match=r"olist_customers_dataset\.csv is not in .*; give the folder or archive"):
        export.opened(tmp_path, mapping)


def test_a_file_that_no_built_in_mapping_fits_is_reported_with_its_columns(saved: Callable[[str, str], Path]) -> None:
    with pytest.raises(Misconfigured, match=r"no built-in mapping fits mine\.csv, whose first row has Nummer, Kunde;"):
        export.detected(saved("mine.csv", "Nummer;Kunde\n1;2\n"))


@pytest.mark.parametrize("name", sorted(export.ready()))
def test_a_built_in_mapping_names_its_platform_and_the_format_of_its_money(name: str) -> None:
    mapping = load(export.ready()[name])
    assert mapping.description
    assert mapping.detect or mapping.file
    assert mapping.decimal_point == "."


def test_what_would_be_counted_adds_up_to_the_files_rows(
    saved: Callable[[str, str | bytes], Path], tmp_path: Path
) -> None:
    future = SHOPIFY.splitlines()[-1].replace("#2004", "#2005").replace("2026-11-03", "2027-11-03")
    path = saved("orders.csv", f"{SHOPIFY}{future}\n{future.replace('#2005', '#2006').replace('EUR', 'Euro')}\n")
    finding = found(export.opened(path, export.ready()["shopify"]), tmp_path / "state", NOW, "EUR")
    assert balance(finding) == "7 rows: 4 in orders, 2 rejected, 1 not sold."
    assert {r.reason.split(" ")[0]: r.column for r in finding.refused} == {"currency": "Currency", "occurred_at": ""}
    month = finding.months["2026-11", "EUR"]
    assert (month.orders, month.gross, month.discount, month.refunded) == (3, 17000, 800, 6000)


def test_an_order_that_is_paid_in_the_future_is_shown_as_refused(
    saved: Callable[[str, str], Path], tmp_path: Path
) -> None:
    paid = SHOPIFY.replace("paid,2026-11-01 10:00:00", "paid,2099-11-01 10:00:00")
    finding = found(export.opened(saved("orders.csv", paid), export.ready()["shopify"]), tmp_path / "state", NOW, "EUR")
    (refused,) = finding.refused
    assert refused.reason == "paid_at is 2099-11-01T09:00:00+00:00, which is in the future"


def test_orders_in_another_currency_are_shown_as_refused_while_their_rates_are_not_known(
    saved: Callable[[str, str], Path], tmp_path: Path
) -> None:
    finding = found(export.opened(saved("cdnow.txt", CDNOW), export.ready()["cdnow"]), tmp_path, NOW, "EUR")
    assert finding.steps == []
    assert all("currency is USD, the shop's is EUR" in refusal.reason for refusal in finding.refused)
    assert book.wanted(tmp_path) is None  # looking publishes nothing, and asks nobody


FOREIGN = """Order,Customer,Currency,When,Shelf,Article,Units,Price,Off,Shipping,Tax
1,a,USD,2026-11-03,H,P,3,10.00,1.01,4.90,1.37
1,a,USD,2026-11-03,H,Q,7,33.33,0.00,4.90,1.37
2,a,JPY,2026-11-03,H,P,2,1999,0,500,318
3,a,KWD,2026-11-03,H,P,3,10.255,1.001,0.000,0.125
4,a,EUR,2026-11-03,H,P,3,10.00,0.00,0.00,0.00
"""
FOREIGN_MAPPING = """source = "foreign"
decimal_point = "."
[columns]
order_id = "Order"
customer_id = "Customer"
currency = "Currency"
occurred_at = "When"
product_id = "Article"
category = "Shelf"
quantity = "Units"
unit_price = "Price"
discount = "Off"
shipping = "Shipping"
tax = "Tax"
[constants]
region = "EU"
channel = "web"
"""


def test_orders_of_a_file_in_other_currencies_are_converted_and_add_up(
    saved: Callable[[str, str], Path], tmp_path: Path
) -> None:
    file = export.opened(saved("orders.csv", FOREIGN), saved("mapping.toml", FOREIGN_MAPPING))
    before = date(2026, 11, 2)
    quoted = {"USD": Decimal("1.0821"), "JPY": Decimal("158.23"), "KWD": Decimal("0.3312")}
    book.add(tmp_path, [Rate(before, code, rate) for code, rate in quoted.items()], Known(date(2026, 10, 1), before))
    exchange, encoder = Exchange(tmp_path, "EUR"), Encoder(ORDER_PLACED, 1, "EUR")
    records = {step.order_id: file.record(step, exchange) for step in file.steps}
    assert file.refused == []
    charged = {"1": Decimal("268.57"), "2": Decimal(4816), "3": Decimal("29.889")}
    for order_id, record in records.items():
        encoder.encode(record)
        total = record["shipping_amount"] + record["tax_amount"]
        total += sum(line["quantity"] * line["unit_price"] - line["discount_amount"] for line in record["lines"])
        if order_id == "4":
            assert (total, record.get("charged_currency")) == (Decimal("30.00"), None)
            continue
        rate = quoted[record["charged_currency"]]
        assert (record["charged_rate"], record["charged_rate_on"]) == (rate, before)
        assert record["charged_total_amount"] == charged[order_id]
        assert total == round(charged[order_id] / rate, 2)
        assert sum(each["amount"] for each in record["discounts"] or ()) == sum(
            line["discount_amount"] for line in record["lines"]
        )
    finding = found(file, tmp_path, NOW, "EUR")
    assert {code: month.orders for (_, code), month in finding.months.items()} == dict.fromkeys((*quoted, "EUR"), 1)


def orders_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "producers.main", "orders", *arguments, "--kafka", "127.0.0.1:1"],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_check_shows_orders_months_and_refused_rows_without_any_server(
    saved: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = saved("orders.csv", SHOPIFY.replace("#2004,,partially_refunded", "#2004,,returned?"))
    arguments = ("--from-file", str(path), "--mapping", "auto", "--state", str(tmp_path / "state"))
    done = orders_command(*arguments, "--check")
    assert done.returncode == 3
    assert "orders.csv matches the built-in mapping shopify" in done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["2026-11", "EUR", "2", "4", "130.00", "8.00", "122.00", "5.00", "0.00", "50.00"] in lines
    assert "status is 'returned?', and [status] in the mapping does not say" in done.stdout
    assert ["7", "Financial", "Status", "returned?"] in [line[:4] for line in lines]
    assert "Nothing was published." in done.stdout
    assert not (tmp_path / "state").exists()


def test_a_mapping_that_was_found_is_confirmed_before_anything_is_published(saved: Callable[[str, str], Path]) -> None:
    done = orders_command("--from-file", str(saved("orders.csv", SHOPIFY)), "--mapping", "auto")
    assert done.returncode == 1
    assert "confirm the mapping shopify with --yes; preview it with --check" in done.stderr


@pytest.mark.parametrize("name", ["json", "json lines"])
def test_orders_with_a_list_of_lines_are_read_from_json(name: str, tmp_path: Path) -> None:
    listed = [
        {
            "id": 7,
            "customer": {"email": "ann@example.com"},
            "at": 1764324000123,
            "line_items": [{"sku": "BELL", "n": 2, "price": 12.10}, {"sku": "TYRE", "n": 1, "price": "25.00"}],
        }
    ]
    text = json.dumps(listed) if name == "json" else "\n".join(json.dumps(each) for each in listed) + "\n[]\n{broken\n"
    path = tmp_path / "orders.jsonl"
    path.write_text(text)
    (tmp_path / "mapping.toml").write_text(
        'source = "api"\ndate_format = "epoch_millis"\n[columns]\norder_id = "id"\ncustomer_id = "customer.email"\n'
        'occurred_at = "at"\nproduct_id = "line_items.sku"\nquantity = "line_items.n"\n'
        'unit_price = "line_items.price"\n'
        '[constants]\ncategory = "all"\nregion = "EU"\ncurrency = "EUR"\nchannel = "web"\n'
    )
    file = export.opened(path, tmp_path / "mapping.toml")
    assert sums(file) == (1, Decimal("49.20"), 0)
    assert [refusal.line for refusal in file.refused] == ([] if name == "json" else [2, 3])
