"""Names of people, companies, places and goods, each in English and Arabic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One thing said in both languages."""

    english: str
    arabic: str


def terms(text: str) -> tuple[Term, ...]:
    """One term a line, the languages parted by a bar."""
    pairs = (line.split("|") for line in text.strip().splitlines())
    return tuple(Term(english.strip(), arabic.strip()) for english, arabic in pairs)


def join(*parts: Term, by: str = " ") -> Term:
    return Term(by.join(part.english for part in parts), by.join(part.arabic for part in parts))


FIRST_NAMES = terms(
    """
    Ahmed|أحمد
    Mohammed|محمد
    Omar|عمر
    Khalid|خالد
    Youssef|يوسف
    Ibrahim|إبراهيم
    Hassan|حسن
    Hussein|حسين
    Mahmoud|محمود
    Mustafa|مصطفى
    Tariq|طارق
    Sami|سامي
    Faisal|فيصل
    Abdullah|عبد الله
    Abdulrahman|عبد الرحمن
    Saeed|سعيد
    Rashid|راشد
    Majid|ماجد
    Karim|كريم
    Walid|وليد
    Ziad|زياد
    Nabil|نبيل
    Bilal|بلال
    Hamza|حمزة
    Anas|أنس
    Fahad|فهد
    Turki|تركي
    Sultan|سلطان
    Fatima|فاطمة
    Aisha|عائشة
    Maryam|مريم
    Noura|نورة
    Sara|سارة
    Layla|ليلى
    Huda|هدى
    Amal|أمل
    Reem|ريم
    Dina|دينا
    Mona|منى
    Salma|سلمى
    Yasmin|ياسمين
    Rania|رانيا
    Nadia|نادية
    Hind|هند
    Lubna|لبنى
    Samira|سميرة
    Zainab|زينب
    Khadija|خديجة
    Jana|جنى
    Malak|ملك
    Shaikha|شيخة
    Latifa|لطيفة
    """
)

FAMILY_NAMES = terms(
    """
    Al Mansouri|المنصوري
    Al Hashimi|الهاشمي
    Al Suwaidi|السويدي
    Al Marri|المري
    Al Ketbi|الكتبي
    Al Zaabi|الزعابي
    Al Qahtani|القحطاني
    Al Ghamdi|الغامدي
    Al Zahrani|الزهراني
    Al Otaibi|العتيبي
    Al Harbi|الحربي
    Al Dosari|الدوسري
    Al Shammari|الشمري
    Al Mutairi|المطيري
    Al Anazi|العنزي
    Hassan|حسن
    Abdelaziz|عبد العزيز
    El Sayed|السيد
    Mansour|منصور
    Farouk|فاروق
    Shaheen|شاهين
    Salem|سالم
    Nasser|ناصر
    Khalil|خليل
    Haddad|حداد
    Khoury|خوري
    Najjar|نجار
    Sabbagh|صباغ
    Hamdan|حمدان
    Qasim|قاسم
    Barakat|بركات
    Othman|عثمان
    Ramadan|رمضان
    El Masry|المصري
    Fahmy|فهمي
    Gaber|جابر
    Shawky|شوقي
    Zaki|زكي
    Badawi|بدوي
    Darwish|درويش
    """
)

COMPANY_NAMES = terms(
    """
    Al Noor|النور
    Al Waha|الواحة
    Al Safa|الصفا
    Al Reem|الريم
    Al Manara|المنارة
    Al Bayan|البيان
    Al Jazeera|الجزيرة
    Al Khaleej|الخليج
    Al Fajr|الفجر
    Al Amal|الأمل
    Al Wafa|الوفاء
    Al Itqan|الإتقان
    Al Rawda|الروضة
    Al Yasmin|الياسمين
    Al Murjan|المرجان
    Pearl of the Sea|لؤلؤ البحر
    Al Sahil|الساحل
    Al Nakhla|النخلة
    Al Qimma|القمة
    Al Riyada|الريادة
    Al Tawfiq|التوفيق
    Al Baraka|البركة
    Al Hilal|الهلال
    Al Najma|النجمة
    Al Diwan|الديوان
    Al Asala|الأصالة
    Al Wadi|الوادي
    Al Nahda|النهضة
    Al Salam|السلام
    Al Mustaqbal|المستقبل
    Nile Gate|بوابة النيل
    Desert Rose|وردة الصحراء
    Blue Dhow|المركب الأزرق
    Golden Falcon|الصقر الذهبي
    Silver Palm|النخلة الفضية
    Red Sea|البحر الأحمر
    """
)

TRADES = terms(
    """
    Building Materials|لمواد البناء
    Foodstuff Trading|لتجارة المواد الغذائية
    Restaurants|للمطاعم
    Hotels|للفنادق
    Medical Supplies|للمستلزمات الطبية
    Furniture|للأثاث
    Electronics|للإلكترونيات
    Contracting|للمقاولات
    Transport|للنقل
    Car Services|لخدمات السيارات
    Garments|للملابس الجاهزة
    Pharmacies|للصيدليات
    Schools|للمدارس
    Clinics|للعيادات
    Travel|للسفر والسياحة
    Real Estate|للعقارات
    Printing|للطباعة
    Cleaning Services|لخدمات التنظيف
    Catering|لخدمات الإعاشة
    Supermarkets|للأسواق المركزية
    Bakeries|للمخابز
    Textiles|للمنسوجات
    Agriculture|للزراعة
    Maintenance|للصيانة
    """
)

EMIRATES_CITIES = terms(
    """
    Dubai|دبي
    Abu Dhabi|أبوظبي
    Sharjah|الشارقة
    Ajman|عجمان
    Al Ain|العين
    Fujairah|الفجيرة
    Ras Al Khaimah|رأس الخيمة
    Umm Al Quwain|أم القيوين
    """
)

EGYPT_CITIES = terms(
    """
    Cairo|القاهرة
    Giza|الجيزة
    Alexandria|الإسكندرية
    Mansoura|المنصورة
    Tanta|طنطا
    Ismailia|الإسماعيلية
    Port Said|بورسعيد
    Asyut|أسيوط
    Luxor|الأقصر
    Aswan|أسوان
    """
)

JOBS = terms(
    """
    Sales executive|مندوب مبيعات
    Accountant|محاسب
    Store keeper|أمين مستودع
    Driver|سائق
    Cashier|أمين صندوق
    Purchasing officer|مسؤول مشتريات
    Customer service agent|موظف خدمة عملاء
    Delivery supervisor|مشرف توصيل
    """
)


def person(first: Term, family: Term) -> Term:
    return join(first, family)


def company(name: Term, trade: Term, city: Term) -> Term:
    """A company and the city it sits in, as it would stand on its licence."""
    return Term(
        f"{name.english} {trade.english} - {city.english}",
        f"شركة {name.arabic} {trade.arabic} - {city.arabic}",
    )


def address(name: str) -> str:
    """The local part of an e-mail address; domains are those reserved for examples."""
    return name.lower().replace(" - ", ".").replace(" ", ".")
