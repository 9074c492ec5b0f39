-- Nakheel Trading: the tables. Keys between tables come after the rows (erp_rules.sql), which is
-- several times faster. Amounts are fils (1/100 AED).

CREATE SEQUENCE invoice_numbers;

CREATE TABLE companies (
    id integer PRIMARY KEY,
    name text NOT NULL,
    name_ar text NOT NULL,
    city text NOT NULL,
    trn text NOT NULL CHECK (trn ~ '^[0-9]{15}$'),
    currency text NOT NULL DEFAULT 'AED' CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE TABLE branches (
    id integer PRIMARY KEY,
    company_id integer NOT NULL,
    name text NOT NULL,
    name_ar text NOT NULL,
    opened_on date NOT NULL
);
CREATE TABLE warehouses (
    id integer PRIMARY KEY,
    branch_id integer NOT NULL,
    name text NOT NULL,
    name_ar text NOT NULL
);
CREATE TABLE accounts (
    code text COLLATE "C" PRIMARY KEY,
    parent_code text COLLATE "C",
    name text NOT NULL,
    name_ar text NOT NULL,
    kind text NOT NULL
        CHECK (kind IN ('asset', 'liability', 'equity', 'income', 'expense'))
);
CREATE TABLE employees (
    id integer PRIMARY KEY,
    branch_id integer NOT NULL,
    manager_id integer,
    name text NOT NULL,
    name_ar text NOT NULL,
    job text NOT NULL,
    job_ar text NOT NULL,
    email text NOT NULL,
    hired_on date NOT NULL,
    salary bigint NOT NULL CHECK (salary > 0)
);
CREATE TABLE customers (
    id integer PRIMARY KEY,
    branch_id integer NOT NULL,
    name text NOT NULL,
    name_ar text NOT NULL,
    city text NOT NULL,
    phone text NOT NULL,
    email text NOT NULL,
    trn text,
    credit_limit bigint NOT NULL CHECK (credit_limit >= 0),
    payment_days smallint NOT NULL,
    since date NOT NULL
);
CREATE TABLE suppliers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    name_ar text NOT NULL,
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    email text NOT NULL,
    payment_days smallint NOT NULL
);
CREATE TABLE product_categories (
    id integer PRIMARY KEY,
    name text NOT NULL,
    name_ar text NOT NULL
);
CREATE TABLE products (
    id integer PRIMARY KEY,
    category_id integer NOT NULL,
    sku text COLLATE "C" NOT NULL,
    barcode text NOT NULL,
    name text NOT NULL,
    name_ar text NOT NULL,
    cost bigint NOT NULL CHECK (cost > 0),
    price bigint NOT NULL CHECK (price >= 0),
    active boolean NOT NULL DEFAULT true,
    updated_on date NOT NULL
);
CREATE TABLE price_changes (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id integer NOT NULL,
    old_price bigint NOT NULL,
    new_price bigint NOT NULL,
    changed_on date NOT NULL
);
CREATE TABLE sales_invoices (
    id integer PRIMARY KEY DEFAULT nextval('invoice_numbers'),
    number text COLLATE "C" NOT NULL,
    customer_id integer NOT NULL,
    branch_id integer NOT NULL,
    employee_id integer NOT NULL,
    issued_on date NOT NULL,
    due_on date NOT NULL,
    net bigint NOT NULL,
    vat bigint NOT NULL,
    gross bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('open', 'paid')),
    note text,
    CHECK (gross = net + vat),
    CHECK (due_on >= issued_on)
);
CREATE TABLE sales_invoice_lines (
    invoice_id integer NOT NULL,
    line smallint NOT NULL,
    product_id integer NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price bigint NOT NULL,
    amount bigint GENERATED ALWAYS AS (quantity * unit_price) STORED,
    PRIMARY KEY (invoice_id, line)
);
CREATE TABLE purchase_bills (
    id integer PRIMARY KEY,
    supplier_id integer NOT NULL,
    warehouse_id integer NOT NULL,
    supplier_number text NOT NULL,
    received_on date NOT NULL,
    due_on date NOT NULL,
    net bigint NOT NULL,
    vat bigint NOT NULL,
    gross bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('open', 'paid')),
    CHECK (gross = net + vat)
);
CREATE TABLE purchase_bill_lines (
    bill_id integer NOT NULL,
    line smallint NOT NULL,
    product_id integer NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_cost bigint NOT NULL,
    amount bigint GENERATED ALWAYS AS (quantity * unit_cost) STORED,
    PRIMARY KEY (bill_id, line)
);
CREATE TABLE payments (
    id integer PRIMARY KEY,
    invoice_id integer,
    bill_id integer,
    paid_on date NOT NULL,
    method text NOT NULL CHECK (method IN ('cash', 'card', 'transfer', 'cheque')),
    amount bigint NOT NULL CHECK (amount > 0),
    CHECK (num_nonnulls(invoice_id, bill_id) = 1)
);
CREATE TABLE stock_moves (
    id integer PRIMARY KEY,
    product_id integer NOT NULL,
    warehouse_id integer NOT NULL,
    invoice_id integer,
    bill_id integer,
    moved_on date NOT NULL,
    quantity integer NOT NULL CHECK (quantity <> 0)
);
CREATE TABLE journal_entries (
    id integer PRIMARY KEY,
    posted_on date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('opening', 'sale', 'purchase', 'receipt', 'payment')),
    memo text NOT NULL
);
CREATE TABLE journal_lines (
    entry_id integer NOT NULL,
    line smallint NOT NULL,
    account_code text COLLATE "C" NOT NULL,
    debit bigint NOT NULL,
    credit bigint NOT NULL,
    PRIMARY KEY (entry_id, line),
    CHECK ((debit = 0) <> (credit = 0))
);
CREATE TABLE vat_returns (
    company_id integer NOT NULL,
    quarter date NOT NULL,
    output_vat numeric(14, 2) NOT NULL,
    input_vat numeric(14, 2) NOT NULL,
    payable numeric(14, 2) GENERATED ALWAYS AS (output_vat - input_vat) STORED,
    filed_on date NOT NULL,
    PRIMARY KEY (company_id, quarter)
);
