-- Nakheel Trading: what holds between the tables, and what is computed from them.

ALTER TABLE companies ADD UNIQUE (trn);
ALTER TABLE branches ADD FOREIGN KEY (company_id) REFERENCES companies;
ALTER TABLE warehouses ADD FOREIGN KEY (branch_id) REFERENCES branches;
ALTER TABLE accounts ADD FOREIGN KEY (parent_code) REFERENCES accounts;
ALTER TABLE employees
    ADD FOREIGN KEY (branch_id) REFERENCES branches,
    ADD FOREIGN KEY (manager_id) REFERENCES employees;
ALTER TABLE customers ADD FOREIGN KEY (branch_id) REFERENCES branches;
ALTER TABLE products
    ADD UNIQUE (sku),
    ADD FOREIGN KEY (category_id) REFERENCES product_categories;
ALTER TABLE price_changes ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE sales_invoices
    ADD UNIQUE (number),
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (branch_id) REFERENCES branches,
    ADD FOREIGN KEY (employee_id) REFERENCES employees;
ALTER TABLE sales_invoice_lines
    ADD FOREIGN KEY (invoice_id) REFERENCES sales_invoices ON DELETE CASCADE,
    ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE purchase_bills
    ADD FOREIGN KEY (supplier_id) REFERENCES suppliers,
    ADD FOREIGN KEY (warehouse_id) REFERENCES warehouses;
ALTER TABLE purchase_bill_lines
    ADD FOREIGN KEY (bill_id) REFERENCES purchase_bills ON DELETE CASCADE,
    ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE payments
    ADD FOREIGN KEY (invoice_id) REFERENCES sales_invoices,
    ADD FOREIGN KEY (bill_id) REFERENCES purchase_bills;
ALTER TABLE stock_moves
    ADD FOREIGN KEY (product_id) REFERENCES products,
    ADD FOREIGN KEY (warehouse_id) REFERENCES warehouses,
    ADD FOREIGN KEY (invoice_id) REFERENCES sales_invoices,
    ADD FOREIGN KEY (bill_id) REFERENCES purchase_bills;
ALTER TABLE journal_lines
    ADD FOREIGN KEY (entry_id) REFERENCES journal_entries ON DELETE CASCADE,
    ADD FOREIGN KEY (account_code) REFERENCES accounts;
ALTER TABLE vat_returns ADD FOREIGN KEY (company_id) REFERENCES companies;

-- Collation "C": the order of Arabic names in an index must not depend on the machine's locale.
CREATE INDEX customers_by_name_ar ON customers (name_ar COLLATE "C");
CREATE INDEX products_by_name_ar ON products (name_ar COLLATE "C") WHERE active;
CREATE INDEX sales_invoices_by_customer ON sales_invoices (customer_id, issued_on);
CREATE INDEX sales_invoices_open ON sales_invoices (due_on) WHERE status = 'open';
CREATE INDEX payments_by_invoice ON payments (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX stock_moves_by_product ON stock_moves (product_id, moved_on);
CREATE INDEX journal_lines_by_account ON journal_lines (account_code);

CREATE FUNCTION keep_old_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.price_changes (product_id, old_price, new_price, changed_on)
    VALUES (old.id, old.price, new.price, new.updated_on);
    RETURN new;
END
$$;
CREATE TRIGGER products_price_changed AFTER UPDATE OF price ON products
    FOR EACH ROW WHEN (old.price IS DISTINCT FROM new.price)
    EXECUTE FUNCTION keep_old_price();

CREATE VIEW customer_balances AS
SELECT customers.id, customers.name, customers.name_ar,
       coalesce(sum(sales_invoices.gross) FILTER (WHERE status = 'open'), 0) AS owed
FROM customers
LEFT JOIN sales_invoices ON sales_invoices.customer_id = customers.id
GROUP BY customers.id;

CREATE VIEW stock_on_hand AS
SELECT product_id, warehouse_id, sum(quantity) AS quantity
FROM stock_moves
GROUP BY product_id, warehouse_id;

INSERT INTO vat_returns (company_id, quarter, output_vat, input_vat, filed_on)
SELECT company_id, quarter, sum(output) / 100.0, sum(input) / 100.0,
       (quarter + interval '3 months 27 days')::date
FROM (
    SELECT branch_id, date_trunc('quarter', issued_on)::date AS quarter, vat AS output, 0 AS input
    FROM sales_invoices
    UNION ALL
    SELECT branch_id, date_trunc('quarter', received_on)::date, 0, vat
    FROM purchase_bills
    JOIN warehouses ON warehouses.id = warehouse_id
) AS taxed
JOIN branches ON branches.id = branch_id
GROUP BY company_id, quarter
ORDER BY quarter, company_id;
COMMENT ON TABLE sales_invoices IS 'فواتير المبيعات';
COMMENT ON TABLE customers IS 'العملاء';
